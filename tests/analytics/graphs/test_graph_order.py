"""The order of a graph: its names, its range, and what of its inputs is not settled."""

from __future__ import annotations

import pytest

from streamforge.analytics.graphs.order import (
    GraphOrder,
    check_graph_name,
    check_type,
    read_order,
    unsettled,
)
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import InvalidInput, PermanentError
from streamforge_utils.model.timeranges import TimeRange
from tests.analytics.graphs.random_markets import DAY_MS
from tests.workers.test_graph_builder import DAILY, SPAN, TYPE


def test_what_a_graph_sees_begins_a_step_and_a_window_before_its_first_snapshot() -> None:
    order = GraphOrder(graph="g", definition=DAILY, type=TYPE, start_ms=SPAN[0], end_ms=SPAN[1], inputs={})
    assert order.seen == TimeRange(SPAN[0] - (12 + 31) * 3_600_000, SPAN[1] - DAY_MS // 2)


def test_the_first_range_that_is_not_proven_is_found() -> None:
    def segment(start: int, end: int, verdict: Verdict) -> Segment:
        return Segment(start_ms=start, end_ms=end, verdict=verdict)

    stored, unknown = Verdict.STORED, Verdict.UNKNOWN
    span = TimeRange(10, 20)
    assert unsettled([segment(0, 30, stored)], span) is None
    assert unsettled([segment(0, 15, stored), segment(15, 20, Verdict.CLOSED)], span) is None
    assert unsettled([segment(12, 30, stored)], span) == span
    assert unsettled([segment(0, 12, stored), segment(12, 14, unknown), segment(14, 30, stored)], span) == TimeRange(
        12, 14
    )
    assert unsettled([segment(0, 12, stored)], span) == TimeRange(12, 20)
    assert unsettled([], span) == span


@pytest.mark.parametrize("name", ["", "G", "1g", "a" * 41, "a_b", "a/b", "г"])
def test_names_that_a_graph_cannot_have(name: str) -> None:
    with pytest.raises(InvalidInput, match="graph"):
        check_graph_name(name)


@pytest.mark.parametrize("type_name", ["api_trades", "ws_candles_1h", "api_candles_1d"])
def test_types_that_a_graph_cannot_be_made_of(type_name: str) -> None:
    with pytest.raises(InvalidInput):
        check_type(DAILY, type_name)
    assert check_type(DAILY, "api_candles_1h") == TYPE


@pytest.mark.parametrize("text", [b"", b"[]", b'{"format": 9}'])
def test_an_order_that_is_none_is_told_by_name(text: bytes) -> None:
    with pytest.raises(PermanentError, match="orders/x"):
        read_order(text, "orders/x", GraphOrder)
