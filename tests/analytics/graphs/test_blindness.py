"""No snapshot sees a bar that closes later, and a builder that does is caught."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from streamforge.analytics.graphs.definition import GraphDefinition
from streamforge.analytics.graphs.panel import Panel, Window
from streamforge.analytics.graphs.snapshot import Snapshot, SnapshotBuilder
from tests.analytics.graphs.blindness import check


@pytest.mark.parametrize("hundred", range(3))
def test_what_closes_after_a_snapshot_leaves_it_as_it_is_byte_for_byte(hundred: int) -> None:
    edges = sum(check(case) for case in range(100 * hundred, 100 * hundred + 100))
    assert edges > 200, "the cases have graphs"


class _OneBarAhead:
    """Gives a moment also the bar that closes next."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel

    def before(self, time_ms: int, rows: int) -> Window:
        ahead = self._panel.before(time_ms + self._panel.bar_ms, rows)
        return Window(time_ms, ahead.symbols, ahead.closes, ahead.returns, ahead.volumes)


def _cheating(definition: GraphDefinition, panel: Panel, times: Iterable[int]) -> Iterator[Snapshot]:
    return SnapshotBuilder(definition).series(_OneBarAhead(panel), times)  # type: ignore[arg-type]


def test_a_builder_that_sees_one_bar_ahead_is_caught() -> None:
    caught = 0
    for case in range(60):
        try:
            check(case, _cheating)
        except AssertionError:
            caught += 1
    assert caught > 30
