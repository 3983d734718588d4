"""The exchange's clock: the machine's, or one that starts elsewhere and can be moved."""

from __future__ import annotations

import time


class ExchangeClock:
    """Runs at the speed of the machine's clock from `start_ms` on (None: the machine's own time).

    frozen: it stands still and moves by `advance` only.
    """

    def __init__(self, start_ms: int | None = None, *, frozen: bool = False) -> None:
        self._frozen = frozen
        self._origin_ms = self._machine_ms() if start_ms is None and frozen else 0
        self._shift_ms = 0
        if start_ms is not None:
            self.set(start_ms)

    def now_ms(self) -> int:
        """Unix milliseconds, UTC."""
        return (self._origin_ms if self._frozen else self._machine_ms()) + self._shift_ms

    def advance(self, milliseconds: int) -> None:
        """Move it; negative values move it back."""
        self._shift_ms += milliseconds

    def set(self, now_ms: int) -> None:
        """Make it show `now_ms`, and run on from there."""
        self._shift_ms += now_ms - self.now_ms()

    @staticmethod
    def _machine_ms() -> int:
        return time.time_ns() // 1_000_000
