"""Levels of detail: the lengths of the bars in which a series is shown, each of whole bars of the one before it."""

from __future__ import annotations

import msgspec

from streamforge_utils.model.completeness.grid import Grid
from streamforge_utils.model.daily_collections import DAY_MS
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.kinds.bars import BarInterval, bar_interval
from streamforge_utils.model.kinds.registry import rule_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange

CALENDAR = tuple(bar_interval(text) for text in ("1m", "5m", "15m", "1h", "4h", "1d", "1w"))
"""On the UTC calendar; weeks begin on Monday."""
_FEW = 10
"""A bar of fewer records is made from them each time it is asked for."""


class Levels(msgspec.Struct, frozen=True):
    """The levels of a series, finest first. own: that of its own interval, whose bars are the records; None: it has
    none."""

    every: tuple[BarInterval, ...]
    own: BarInterval | None = None

    @classmethod
    def of(cls, series: Series, phase_ms: int | None) -> Levels:
        """Those of the calendar that hold whole bars of the series' own interval, behind that.

        phase_ms: an open time of the series, where the calendar does not fix its grid. None at all: not known yet.
        """
        rule = rule_of(series)
        if not isinstance(rule, Grid):
            return cls(CALENDAR)
        if not rule.is_fixed(phase_ms):
            return cls(())
        own = BarInterval(
            series.interval, rule if rule.length_ms is None else Grid(rule.length_ms, rule.floor(0, phase_ms))
        )
        return cls((own, *(one for one in CALENDAR if _holds(one.grid, own.grid))), own)

    @property
    def rolled(self) -> tuple[BarInterval, ...]:
        """Those whose bars are kept by day: at most a day long, and of many records."""
        least_ms = 0 if self.own is None or self.own.grid.length_ms is None else _FEW * self.own.grid.length_ms
        lengths = [(one, one.grid.length_ms) for one in self.every if one is not self.own]
        return tuple(one for one, length_ms in lengths if length_ms is not None and least_ms <= length_ms <= DAY_MS)

    def chosen(self, span: TimeRange, most: int) -> BarInterval:
        """The finest level that has at most so many bars in `span`. Raises InvalidInput."""
        for level in self.every:
            whole = whole_bars(level, span)
            if len(level.grid.times(whole.start_ms, whole.end_ms)) <= most:
                return level
        raise InvalidInput(
            "max",
            f"{span} has more than {most:,} bars of {self.every[-1].text}, the longest of this series: ask for a "
            "shorter range or for more bars",
        )


def whole_bars(level: BarInterval, span: TimeRange) -> TimeRange:
    """`span`, widened to whole bars of the level."""
    return TimeRange(level.grid.floor(span.start_ms), level.grid.ceil(span.end_ms))


def _holds(coarse: Grid, fine: Grid) -> bool:
    """Whether each step of `coarse` holds some whole steps of `fine`, and more than one."""
    length_ms, of_ms = coarse.length_ms, fine.length_ms
    if of_ms is None or length_ms is None or length_ms <= of_ms or length_ms % of_ms:
        return False
    return ((coarse.offset_ms or 0) - (fine.offset_ms or 0)) % of_ms == 0
