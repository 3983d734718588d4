"""Request weight of a fixed clock minute: 429 once it is spent, 418 for a client that goes on.

The exchange listens on the loopback address only, so all its clients share one address.
"""

from __future__ import annotations

import msgspec

from streamforge.exchange.config import WEIGHT_LIMIT
from streamforge.exchange.exchange_errors import ApiError, banned

_WINDOW_MS = 60_000
_BAN_AFTER = 5
"""So many requests may follow the first 429 of a minute before the address is banned."""
_BAN_MS, _BAN_LIMIT_MS = 120_000, 3 * 86_400_000
"""Length of the first ban; each further one is twice as long, up to the limit."""
_KEPT = 100


class Refused(msgspec.Struct, frozen=True):
    """A time in which the client is to ask nothing; unix ms of the exchange's clock."""

    from_ms: int
    until_ms: int


class Limiter:
    """Counts weight by minute of the exchange's clock. limit: None never refuses.

    bans, pauses: the last ones, of 418 and of 429. asked_in_pause, refused_while_banned: requests in one of them.
    """

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.max_used = 0
        self.refused_while_banned = 0
        self.asked_in_pause = 0
        self.bans: list[Refused] = []
        self.pauses: list[Refused] = []
        self._minute = self._used = self._refused = 0
        self._paused_until_ms = 0

    def spend(self, weight: int, now_ms: int) -> None:
        """Charge a request. Raises ApiError: 429, or 418 for a client that is banned."""
        used = self.used(now_ms) + weight
        if self.bans and now_ms < self.bans[-1].until_ms:
            self.refused_while_banned += 1
            raise self._banned(now_ms)
        if now_ms < self._paused_until_ms:
            self.asked_in_pause += 1
        self._used, self.max_used = used, max(self.max_used, used)
        if self.limit is None or used <= self.limit:
            return
        self._refused += 1
        if self._refused > _BAN_AFTER:
            raise self.ban(min(_BAN_MS * 2 ** len(self.bans), _BAN_LIMIT_MS), now_ms)
        raise self.pause(-(-_left_ms(now_ms) // 1000), now_ms)

    def used(self, now_ms: int) -> int:
        """Weight spent in the current minute."""
        if self._minute != now_ms // _WINDOW_MS:
            self._minute, self._used, self._refused = now_ms // _WINDOW_MS, 0, 0
        return self._used

    def ban(self, duration_ms: int, now_ms: int) -> ApiError:
        """Refuse every request for `duration_ms`; the answer to this request."""
        self.bans = [*self.bans[1 - _KEPT :], Refused(now_ms, now_ms + duration_ms)]
        return self._banned(now_ms)

    def pause(self, retry_after: int | None, now_ms: int) -> ApiError:
        """The answer 429. retry_after: seconds of the header; None: without one, until the minute is over."""
        until_ms = now_ms + (_left_ms(now_ms) if retry_after is None else retry_after * 1000)
        self._paused_until_ms = max(self._paused_until_ms, until_ms)
        self.pauses = [*self.pauses[1 - _KEPT :], Refused(now_ms, until_ms)]
        return ApiError(-1003, self.limit or WEIGHT_LIMIT, status=429, retry_after=retry_after)

    def _banned(self, now_ms: int) -> ApiError:
        until_ms = self.bans[-1].until_ms
        return banned(until_ms, -(-(until_ms - now_ms) // 1000))


def _left_ms(now_ms: int) -> int:
    """Until the next minute of the exchange's clock."""
    return _WINDOW_MS - now_ms % _WINDOW_MS
