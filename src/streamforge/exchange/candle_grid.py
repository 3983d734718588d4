"""The bars of an interval as integers: bar i opens at `open_ms(i)`, and bar i+1 opens where it ends."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

_MINUTE = 60_000
_DAY = 1_440 * _MINUTE

STEPS_MS: dict[str, int | None] = {
    "1s": 1_000,
    **{f"{n}m": n * _MINUTE for n in (1, 3, 5, 15, 30)},
    **{f"{n}h": n * 60 * _MINUTE for n in (1, 2, 4, 6, 8, 12)},
    "1d": _DAY,
    "3d": 3 * _DAY,
    "1w": 7 * _DAY,
    "1M": None,
}
"""The intervals as Binance spells them, each with its length; that of a month varies."""
_PHASES_MS = {"3d": _DAY, "1w": 4 * _DAY}
"""Where bars open that do not open at the epoch. Weeks open on Monday, 1970-01-05. Binance's own alignment of 3d is not
documented, so a client must read it from data; ours is not the one that dividing by three days would give."""


class Grid(msgspec.Struct, frozen=True):
    """The bars of one interval."""

    interval: str

    @property
    def step_ms(self) -> int | None:
        """The length of a bar; None for a month."""
        return STEPS_MS[self.interval]

    def index(self, time_ms: int) -> int:
        """The bar that holds `time_ms`."""
        if self.step_ms is not None:
            return (time_ms - self._phase_ms) // self.step_ms
        moment = datetime.fromtimestamp(time_ms // 1000, UTC)
        return moment.year * 12 + moment.month - 1

    def first_from(self, time_ms: int) -> int:
        """The first bar that opens at `time_ms` or later."""
        index = self.index(time_ms)
        return index if self.open_ms(index) >= time_ms else index + 1

    def open_ms(self, index: int) -> int:
        """When bar `index` opens, unix ms."""
        if self.step_ms is not None:
            return index * self.step_ms + self._phase_ms
        start = datetime(index // 12, index % 12 + 1, 1, tzinfo=UTC)
        return int(start.timestamp()) * 1000

    def opens(self, first: int, last: int) -> list[int]:
        """When the bars `first` to `last` open and when the last one ends: last - first + 2 instants, unix ms."""
        if self.step_ms is not None:
            return list(range(self.open_ms(first), self.open_ms(last + 1) + 1, self.step_ms))
        return [self.open_ms(index) for index in range(first, last + 2)]

    @property
    def _phase_ms(self) -> int:
        return _PHASES_MS.get(self.interval, 0)
