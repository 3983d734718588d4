"""Waits that can be seen, and the times in which the exchange refuses this address.

Each wait is reported with its reason and its end, and a failure until it is over. Bans and pauses are remembered, so
that no call makes them longer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from streamforge_utils.adapters.binance.binance_rules import (
    DEFAULT_BAN_S,
    FIREWALL_BLOCK_S,
    LONGEST_BAN_S,
    Action,
    ErrorAnswer,
)
from streamforge_utils.model.errors import BannedError, RetryableError
from streamforge_utils.model.timeranges import format_ms
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.instrumentation import Observer


class Waits:
    """Waits on a clock and reports to the observer.

    Of several waits at once the last to end clears the report, or brings back that of a call that goes on failing.
    """

    def __init__(self, clock: Clock, observer: Observer) -> None:
        self._clock = clock
        self._observer = observer
        self._under_way = 0
        self._failing: dict[object, str] = {}

    def failed(self, call: object, reason: str) -> None:
        """The last try of `call` failed: reported from its next wait on, until the call ends or another succeeds."""
        self._failing.pop(call, None)
        self._failing[call] = reason

    def ended(self, call: object) -> None:
        """Nothing of `call` is reported any more."""
        if self._failing.pop(call, None) is not None:
            self._report()

    def succeeded(self) -> None:
        """The exchange answered: earlier failures of all calls are over."""
        if self._failing:
            self._failing.clear()
            self._report()

    async def sleep(self, reason: str, seconds: float, wake: asyncio.Event | None = None) -> float:
        """Wait for `seconds`, or until `wake` is set. Returns how many seconds it was."""
        if seconds <= 0:
            self._report()
            return 0.0
        started = self._clock.monotonic()
        self._under_way += 1
        self._observer.waiting(reason, self._clock.now_ms() + int(seconds * 1000))
        try:
            if wake is None:
                await self._clock.sleep(seconds)
            else:
                await self._sleep_or_wake(seconds, wake)
        finally:
            elapsed = self._clock.monotonic() - started
            self._observer.count("exchange_wait_seconds_total", elapsed, reason=reason)
            self._under_way -= 1
            self._report()
        return elapsed

    def _report(self) -> None:
        if not self._under_way:
            self._observer.waiting(next(reversed(self._failing.values()), None))

    async def _sleep_or_wake(self, seconds: float, wake: asyncio.Event) -> None:
        tasks = {asyncio.ensure_future(self._clock.sleep(seconds)), asyncio.ensure_future(wake.wait())}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


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
