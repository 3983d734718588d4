"""Keeps a client to its share of the exchange's request weight, and to the limit of the address it shares.

Weight is counted in fixed minutes of the exchange's clock. Within its minute a client may be as fast as it can; once
its share is used it waits for the next minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from streamforge_utils.adapters.binance.binance_rules import ADDRESS_SHARE, WEIGHT_LIMIT, WINDOW_MS
from streamforge_utils.adapters.binance.waits import Waits
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.ports.instrumentation import Observer

MARGIN_MS = 50
"""How far into the next minute to wait, for what the estimate of the exchange's clock may be off."""

REASON = "request weight"


class RateBudget:
    """Hands out request weight in order of asking.

    exchange_now_ms: the best estimate of the exchange's clock. longest_wait_s: of one call, in all.
    """

    def __init__(
        self,
        weight_limit: int,
        exchange_now_ms: Callable[[], int],
        waits: Waits,
        observer: Observer,
        *,
        longest_wait_s: float,
    ) -> None:
        self._now_ms = exchange_now_ms
        self._waits = waits
        self._observer = observer
        self._longest_wait_s = longest_wait_s
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._share = _checked(weight_limit)
        # A share beyond the default means that this exchange allows more; if it does not, its refusal names the limit.
        self._address_limit = max(WEIGHT_LIMIT, self._share)
        self._window = -1
        self._used = 0
        self._owed = 0  # spent beyond the share by a request that is dearer than it: paid in the minutes after it
        self._address_used = 0

    def set_share(self, weight_per_minute: int) -> None:
        """The share of this client from now on; calls that wait are judged by it at once. 0 holds them back."""
        self._share = _checked(weight_per_minute)
        self._changed.set()

    def set_address_limit(self, weight_per_minute: int) -> None:
        """The limit that the exchange names for the address."""
        if weight_per_minute > 0:
            self._address_limit = weight_per_minute

    async def take(self, weight: int) -> None:
        """Return once `weight` may be spent. Raises RetryableError if that takes too long."""
        waited = 0.0
        async with self._turn:
            while True:
                now_ms = self._now_ms()
                self._enter_window(now_ms)
                if self._may_spend(weight):
                    self._used += weight
                    self._owed = max(self._owed, self._used - self._share)
                    self._address_used += weight
                    return
                rest = (WINDOW_MS - now_ms % WINDOW_MS + MARGIN_MS) / 1000
                if waited + rest > self._longest_wait_s:
                    raise RetryableError(
                        f"the request weight of this client ({self._share} a minute; the address has used "
                        f"{self._address_used} of {self._address_limit}) did not allow a request of "
                        f"weight {weight} within {self._longest_wait_s:g} s: "
                        "give it a larger share, or run fewer loaders",
                        retry_after=rest,
                    )
                self._changed.clear()
                waited += await self._waits.sleep(REASON, rest, self._changed)

    def observe(self, address_used: int, sent_ms: int, received_ms: int) -> None:
        """Take over the weight that the exchange has counted for the address in the current minute."""
        self._observer.gauge("exchange_address_weight", address_used)
        if sent_ms // WINDOW_MS != received_ms // WINDOW_MS:
            return  # either minute may have been counted
        self._enter_window(received_ms)
        self._address_used = max(self._address_used, address_used)

    def exhaust(self) -> None:
        """The exchange refused a request for its weight: nothing more is spent in this minute."""
        self._enter_window(self._now_ms())
        self._address_used = max(self._address_used, self._address_limit)

    def _enter_window(self, now_ms: int) -> None:
        window = now_ms // WINDOW_MS
        if window <= self._window:
            self._window = window  # the estimate of the clock was corrected: what was used stays used
            return
        self._used = max(0, self._owed - self._share * (window - self._window - 1))
        self._owed = max(0, self._used - self._share)
        self._address_used = 0
        self._window = window

    def _may_spend(self, weight: int) -> bool:
        if self._share == 0:
            return False
        if self._used and self._used + weight > self._share:
            return False  # a request dearer than the whole share is let through in a fresh minute
        ceiling = int(self._address_limit * ADDRESS_SHARE)
        return not self._address_used or self._address_used + weight <= ceiling


def _checked(weight_per_minute: int) -> int:
    if weight_per_minute < 0:
        raise ValueError(f"a share of {weight_per_minute} request weight a minute is negative")
    return weight_per_minute
