"""Request weight: a fixed clock minute per client address, 429 when it is spent, 418 for who goes on."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from streamforge.exchange import errors
from streamforge.exchange.errors import ApiError

_WINDOW_MS = 60_000
_CLIENTS_KEPT = 1_000


class _Client(msgspec.Struct):
    window: int = 0
    used: int = 0
    refused: int = 0
    paused_until_ms: int = 0
    banned_until_ms: int = 0
    bans: int = 0


class Ban(msgspec.Struct, frozen=True):
    """A ban that was issued; times in unix ms of the exchange's clock."""

    client: str
    from_ms: int
    until_ms: int


class Pause(msgspec.Struct, frozen=True):
    """A 429 that was answered: until when the client was told to ask nothing. Unix ms of the exchange's clock."""

    client: str
    from_ms: int
    until_ms: int


class Refusal(Exception):
    """The request is not served. retry_after: seconds, as the header says it."""

    def __init__(self, error: ApiError, retry_after: int) -> None:
        super().__init__(error.text)
        self.error, self.retry_after = error, retry_after


class Limiter:
    """Counts weight by client and minute of the exchange's clock. limit: None never refuses."""

    def __init__(self, limit: int | None, ban_after: int, ban_ms: int, ban_limit_ms: int) -> None:
        self.limit = limit
        self.max_used = 0
        self.refused_while_banned = 0
        self.asked_in_pause = 0
        self.bans: list[Ban] = []
        self.pauses: list[Pause] = []
        self._ban_after, self._ban_ms, self._ban_limit_ms = ban_after, ban_ms, ban_limit_ms
        self._clients: OrderedDict[str, _Client] = OrderedDict()
        self._windows: OrderedDict[tuple[int, str], int] = OrderedDict()

    def spend(self, client: str, weight: int, now_ms: int) -> int:
        """Charge a request and return the weight used in this minute. Raises Refusal: 429, or 418 for the banned."""
        state = self._state(client, now_ms)
        if now_ms < state.banned_until_ms:
            self.refused_while_banned += 1
            raise self._banned(state, now_ms)
        if now_ms < state.paused_until_ms:
            self.asked_in_pause += 1
        state.used += weight
        self.max_used = max(self.max_used, state.used)
        self._windows[state.window * _WINDOW_MS, client] = state.used
        if len(self._windows) > _CLIENTS_KEPT:
            self._windows.popitem(last=False)
        if self.limit is None or state.used <= self.limit:
            return state.used
        state.refused += 1
        if state.refused > self._ban_after:
            self.ban(client, now_ms, min(self._ban_ms * 2**state.bans, self._ban_limit_ms))
            raise self._banned(state, now_ms)
        seconds = self.seconds_left(now_ms)
        self.pause(client, now_ms, seconds * 1000)
        raise Refusal(errors.too_much_weight(self.limit), seconds)

    def used(self, client: str, now_ms: int) -> int:
        """Weight spent by `client` in the current minute."""
        return self._state(client, now_ms).used

    def ban(self, client: str, now_ms: int, duration_ms: int) -> Ban:
        """Refuse every request of `client` for `duration_ms`."""
        state = self._state(client, now_ms)
        state.banned_until_ms = now_ms + duration_ms
        state.bans += 1
        ban = Ban(client, now_ms, state.banned_until_ms)
        self.bans = [*self.bans[-99:], ban]
        return ban

    def pause(self, client: str, now_ms: int, duration_ms: int | None) -> Pause:
        """Remember that `client` was answered 429. duration_ms: None without a Retry-After: the rest of the minute."""
        state = self._state(client, now_ms)
        until_ms = now_ms + (_WINDOW_MS - now_ms % _WINDOW_MS if duration_ms is None else duration_ms)
        state.paused_until_ms = max(state.paused_until_ms, until_ms)
        pause = Pause(client, now_ms, until_ms)
        self.pauses = [*self.pauses[-99:], pause]
        return pause

    def windows(self) -> list[dict[str, int | str]]:
        """The last minutes, oldest first: start, client, weight asked for (refused requests included)."""
        return [
            {"start_ms": start, "client": client, "weight": weight} for (start, client), weight in self._windows.items()
        ]

    @staticmethod
    def seconds_left(now_ms: int) -> int:
        """Whole seconds until the next minute of the exchange's clock, at least 1."""
        return -(-(_WINDOW_MS - now_ms % _WINDOW_MS) // 1000)

    def _state(self, client: str, now_ms: int) -> _Client:
        state = self._clients.get(client)
        if state is None:
            state = self._clients[client] = _Client()
            if len(self._clients) > _CLIENTS_KEPT:
                self._clients.popitem(last=False)
        if state.window != now_ms // _WINDOW_MS:
            state.window, state.used, state.refused = now_ms // _WINDOW_MS, 0, 0
        return state

    @staticmethod
    def _banned(state: _Client, now_ms: int) -> Refusal:
        return Refusal(errors.banned(state.banned_until_ms), -(-(state.banned_until_ms - now_ms) // 1000))
