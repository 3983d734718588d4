"""Times in which the exchange refuses this address: remembered, so that no call makes them longer."""

from __future__ import annotations

from collections.abc import Callable

from streamforge_utils.adapters.binance.error_answers import ErrorAnswer
from streamforge_utils.adapters.binance.waits import Waits
from streamforge_utils.adapters.binance.weights import DEFAULT_BAN_S, FIREWALL_BLOCK_S, LONGEST_BAN_S, Action
from streamforge_utils.model.errors import BannedError, RetryableError
from streamforge_utils.model.timeranges import format_ms
from streamforge_utils.ports.clock import Clock


class Refusals:
    """Bans (418, or the firewall's 403) and pauses (429 with a time) of one client.

    longest_wait_s: the longest pause that a call waits for.
    """

    def __init__(
        self, clock: Clock, exchange_now_ms: Callable[[], int], waits: Waits, *, longest_wait_s: float
    ) -> None:
        self._clock = clock
        self._exchange_now_ms = exchange_now_ms
        self._waits = waits
        self._longest_wait_s = longest_wait_s
        self._paused_until = self._banned_until = 0.0  # monotonic seconds
        self._banned_until_ms = 0
        self._pause = self._ban = ""

    def rest_s(self) -> float:
        """For how many seconds every call is still held back; 0 if it is not."""
        return max(0.0, max(self._paused_until, self._banned_until) - self._clock.monotonic())

    async def pass_by(self, what: str) -> None:
        """Return once a request may be sent. Raises BannedError or RetryableError while the exchange refuses."""
        waited = 0.0
        while True:
            now = self._clock.monotonic()
            if now < self._banned_until:
                raise self._banned(f"{what}: not sent: {self._ban}")
            rest = self._paused_until - now
            if rest <= 0:
                return
            left = self._longest_wait_s - waited
            if left <= 0:
                raise RetryableError(
                    f"{what}: not sent: {self._pause}, which asked for a pause: try again in {rest:.0f} s",
                    retry_after=rest,
                )
            waited += await self._waits.sleep(self._pause, min(rest, left))

    def pause(self, seconds: float, reason: str) -> None:
        """No request for `seconds`. reason: shown while requests wait."""
        until = self._clock.monotonic() + seconds
        if until > self._paused_until:
            self._paused_until, self._pause = until, reason

    def ban(self, what: str, status: str, shown: str, error: ErrorAnswer) -> BannedError:
        """Remember that the exchange or its firewall refuses the address. status, shown: of the answer."""
        seconds = self._ban_s(error)
        until = self._clock.monotonic() + seconds
        if until > self._banned_until:
            self._banned_until = until
            # By our own clock, which everything that waits for it uses.
            self._banned_until_ms = self._clock.now_ms() + round(seconds * 1000)
            self._ban = f"{status}: {error.reason} ({format_ms(self._banned_until_ms)})"
        return self._banned(f"{what}: {self._ban}. The exchange answered: {shown}")

    def _ban_s(self, error: ErrorAnswer) -> float:
        named = [error.retry_after_s or 0.0]
        if error.action is Action.BLOCK:
            return max(*named, FIREWALL_BLOCK_S)
        if error.banned_until_ms is not None:
            named.append((error.banned_until_ms - self._exchange_now_ms()) / 1000)
        return min(max(named), LONGEST_BAN_S) if max(named) > 0 else DEFAULT_BAN_S

    def _banned(self, message: str) -> BannedError:
        rest = max(0.0, self._banned_until - self._clock.monotonic())
        return BannedError(message, until_ms=self._banned_until_ms, retry_after=rest)
