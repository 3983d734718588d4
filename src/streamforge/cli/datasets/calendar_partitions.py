"""The parts of a data set: days or months, UTC."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from urllib.parse import quote

import msgspec

from streamforge_utils.model.completeness.grid import Grid
from streamforge_utils.model.timeranges import TimeRange

_GRIDS = {"day": Grid(86_400_000), "month": Grid(None)}
_FORMS = {"day": "%Y-%m-%d", "month": "%Y-%m"}


class Period(StrEnum):
    """How long a part is."""

    DAY = "day"
    MONTH = "month"

    def containing(self, time_ms: int) -> TimeRange:
        """The whole day or month that holds `time_ms`."""
        grid = _GRIDS[self]
        start_ms = grid.floor(time_ms)
        return TimeRange(start_ms, grid.next(start_ms))

    def value_of(self, start_ms: int) -> str:
        """`2024-08-01` or `2024-08`."""
        return datetime.fromtimestamp(start_ms // 1000, UTC).strftime(_FORMS[self])

    def cut(self, span: TimeRange) -> Iterator[Part]:
        """`span` by days or months, ascending."""
        start_ms = span.start_ms
        while start_ms < span.end_ms:
            whole = self.containing(start_ms)
            within = TimeRange(start_ms, min(whole.end_ms, span.end_ms))
            yield Part(name=f"{self.value}={self.value_of(whole.start_ms)}", within=within)
            start_ms = whole.end_ms


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What of a range lies in one partition. name: of its folder, `day=2024-08-01`."""

    name: str
    within: TimeRange


def symbol_folder(symbol: str) -> str:
    """The folder of a symbol, as readers of such data sets decode it: `symbol=BTCUSDT`."""
    return f"symbol={quote(symbol, safe='')}"
