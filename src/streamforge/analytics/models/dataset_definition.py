"""What samples for models are made of: data, with an identity. Needs no arithmetic."""

from __future__ import annotations

from typing import Annotated

import msgspec

from streamforge.analytics.graphs.definition import GraphDefinition, Measure
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.timeranges import TimeRange

DELAY = 1
"""Bars from the decision to the trade."""
_DAY_MS = 86_400_000


class DatasetDefinition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What samples are made of. graph: also says the moments, the coins and the features. horizon: in bars."""

    graph: GraphDefinition
    horizon: Annotated[int, msgspec.Meta(ge=1)] = 24

    @property
    def horizon_ms(self) -> int:
        return self.horizon * self.graph.bar_ms

    @property
    def span_ms(self) -> int:
        """From a decision to the open at which its target ends."""
        return self.horizon_ms + DELAY * self.graph.bar_ms

    def decision_times(self, start_ms: int, end_ms: int) -> range:
        """The moments from `start_ms` on whose targets have ended by `end_ms`."""
        return self.graph.snapshot_times(start_ms, self.decisions_end_ms(start_ms, end_ms))

    def decisions_end_ms(self, start_ms: int, end_ms: int) -> int:
        """Where the half-open range of these moments ends."""
        graph = self.graph
        closed_ms = end_ms - (end_ms - (graph.grid.offset_ms or 0)) % graph.bar_ms
        return max(start_ms, closed_ms - self.span_ms)

    def seen(self, times: range, *, targets: bool = True) -> TimeRange:
        """The half-open range of the bars that count for these moments, with or without their targets."""
        graph = self.graph
        last_ms = times[-1] + (self.span_ms + graph.bar_ms if targets else 0)
        return TimeRange(graph.grid.ceil(max(0, graph.first_seen_ms(times[0]))), last_ms)


def bars_a_day(graph: GraphDefinition) -> int:
    """One where bars are longer than a day."""
    return max(1, _DAY_MS // graph.bar_ms)


def baseline_features(graph: GraphDefinition) -> tuple[int, int, int]:
    """Places of the features that the baselines go by: a day's return, the longest return, the longest volatility.

    Raises InvalidInput where one is missing.
    """
    day = bars_a_day(graph)
    found = {measure: dict[int, int]() for measure in Measure}
    for column, feature in enumerate(graph.read_features()):
        found[feature.measure][feature.bars] = column
    returns, volatilities = found[Measure.RETURN], found[Measure.VOLATILITY]
    if day not in returns or not volatilities:
        raise InvalidInput("features", f"the baselines need return_{day} and a volatility: add them to the graph")
    return returns[day], returns[max(returns)], volatilities[max(volatilities)]
