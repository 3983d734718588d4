"""Times in which the exchange refuses this address: remembered, so that no call makes them longer."""

from __future__ import annotations

from collections.abc import Callable

from streamforge_utils.adapters.binance.answers import Trouble
from streamforge_utils.adapters.binance.waits import Waits
from streamforge_utils.adapters.binance.weights import DEFAULT_BAN_S, FIREWALL_BLOCK_S, LONGEST_BAN_S
from streamforge_utils.model.errors import BannedError, RetryableError
from streamforge_utils.model.timeranges import format_ms
from streamforge_utils.ports.clock import Clock


class Refusals:
    """Bans (418), blocks by the firewall (403) and pauses (429 with a time) of one client.

    longest_wait_s: the longest pause that a call sits out.
    """

    def __init__(
        self, clock: Clock, exchange_now_ms: Callable[[], int], waits: Waits, *, longest_wait_s: float
    ) -> None:
        self._clock = clock
        self._exchange_now_ms = exchange_now_ms
        self._waits = waits
        self._longest_wait_s = longest_wait_s
        self._until = 0.0  # monotonic seconds, like the two below
        self._banned_until = 0.0
        self._blocked_until = 0.0
        self._banned_until_ms = 0
        self._blocked_until_ms = 0
        self._hold = ""
        self._ban = ""
        self._block = ""

    def rest_s(self) -> float:
        """For how many seconds every call is still held back; 0 if it is not."""
        until = max(self._until, self._banned_until, self._blocked_until)
        return max(0.0, until - self._clock.monotonic())

    async def pass_by(self, what: str) -> None:
        """Return once a request may be sent. Raises BannedError or RetryableError while the exchange refuses."""
        waited = 0.0
        while True:
            self._refuse(what)
            rest = self._until - self._clock.monotonic()
            if rest <= 0:
                return
            left = self._longest_wait_s - waited
            if left <= 0:
                raise RetryableError(
                    f"{what}: not sent: {self._hold}, which asked for a pause: try again in {rest:.0f} s",
                    retry_after=rest,
                )
            waited += await self._waits.sleep(self._hold, min(rest, left))

    def hold(self, seconds: float, reason: str) -> None:
        """No request for `seconds`. reason: shown while requests wait."""
        until = self._clock.monotonic() + seconds
        if until > self._until:
            self._until, self._hold = until, reason

    def ban(self, what: str, said: str, answer: str, trouble: Trouble) -> BannedError:
        """Remember the ban that the exchange answered with."""
        now_ms = self._exchange_now_ms()
        named = [] if trouble.retry_after_s is None else [trouble.retry_after_s]
        if trouble.banned_until_ms is not None and trouble.banned_until_ms > now_ms:
            named.append((trouble.banned_until_ms - now_ms) / 1000)
        seconds = min(max(named), LONGEST_BAN_S) if named and max(named) > 0 else DEFAULT_BAN_S
        self._banned_until = self._clock.monotonic() + seconds
        # By our own clock, as everybody who waits for it has that one.
        self._banned_until_ms = self._clock.now_ms() + round(seconds * 1000)
        self._ban = f"{said}: {trouble.reason} ({format_ms(self._banned_until_ms)})"
        return self._banned_error(f"{what}: {self._ban}. The exchange answered: {answer}")

    def block(self, what: str, said: str, answer: str, trouble: Trouble) -> BannedError:
        """Remember that the firewall refused the address: also a ban, but for its reason and its time."""
        seconds = max(trouble.retry_after_s or 0.0, FIREWALL_BLOCK_S)
        self._blocked_until = self._clock.monotonic() + seconds
        self._blocked_until_ms = self._clock.now_ms() + round(seconds * 1000)  # by our own clock, as that of a ban
        self._block = f"{said}: {trouble.reason}"
        return self._blocked_error(f"{what}: {self._block}. The exchange answered: {answer}")

    def _refuse(self, what: str) -> None:
        now = self._clock.monotonic()
        if now < self._banned_until:
            raise self._banned_error(f"{what}: not sent: {self._ban}")
        if now < self._blocked_until:
            raise self._blocked_error(f"{what}: not sent: {self._block}")

    def _banned_error(self, message: str) -> BannedError:
        rest = max(0.0, self._banned_until - self._clock.monotonic())
        return BannedError(message, until_ms=self._banned_until_ms, retry_after=rest)

    def _blocked_error(self, message: str) -> BannedError:
        rest = max(0.0, self._blocked_until - self._clock.monotonic())
        return BannedError(message, until_ms=self._blocked_until_ms, retry_after=rest)
