"""Which collection a record belongs to."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from streamforge_utils.model import names
from streamforge_utils.model.daily_collections import DAY_MS, Placement, base_and_day, by_base, days_of
from streamforge_utils.model.documents import check_name
from streamforge_utils.model.timeranges import TimeRange

MIDNIGHT = 1_722_556_800_000
"""Where 2 August 2024 begins."""
DAILY = Placement("btcusdt_ws_trades", daily=True)


def test_a_record_lies_in_the_collection_of_its_utc_day() -> None:
    assert DAILY.at(MIDNIGHT - 1) == "btcusdt_ws_trades_20240801"
    assert DAILY.at(MIDNIGHT) == "btcusdt_ws_trades_20240802"
    assert Placement("mine").at(MIDNIGHT) == "mine"


def test_what_tells_of_records_for_weeks_lies_beside_the_days() -> None:
    assert DAILY.ledger == "btcusdt_ws_trades_ledger"
    assert not DAILY.holds(DAILY.ledger)
    assert Placement("mine").ledger == "mine"


def test_a_range_is_divided_at_midnight() -> None:
    span = TimeRange(MIDNIGHT - 5, MIDNIGHT + DAY_MS)
    assert DAILY.of(span) == [
        ("btcusdt_ws_trades_20240801", TimeRange(MIDNIGHT - 5, MIDNIGHT)),
        ("btcusdt_ws_trades_20240802", TimeRange(MIDNIGHT, MIDNIGHT + DAY_MS)),
    ]
    assert Placement("mine").of(span) == [("mine", span)]


@given(st.integers(0, 4_102_444_800_000), st.integers(1, 5 * DAY_MS))
def test_the_parts_of_a_range_meet_and_each_names_the_day_of_its_times(start_ms: int, length_ms: int) -> None:
    span = TimeRange(start_ms, start_ms + length_ms)
    parts = DAILY.of(span)
    assert (parts[0][1].start_ms, parts[-1][1].end_ms) == (span.start_ms, span.end_ms)
    assert all(one.end_ms == two.start_ms for (_, one), (_, two) in pairwise(parts))
    for name, part in parts:
        assert DAILY.at(part.start_ms) == DAILY.at(part.end_ms - 1) == name
        assert DAILY.holds(name)
        day = datetime.fromtimestamp(part.start_ms // 1000, UTC).replace(hour=0, minute=0, second=0)
        assert base_and_day(name) == ("btcusdt_ws_trades", int(day.timestamp()) * 1000)


def test_what_is_no_day_of_a_base_is_not_held() -> None:
    others = ("btcusdt_ws_trades", "btcusdt_ws_trades_20240832", "btcusdt_ws_trades_2_20240801", "btcusdt_ws_20240801")
    assert [name for name in others if DAILY.holds(name)] == []
    assert Placement("mine").holds("mine")
    assert not Placement("mine").holds("mine_20240801")
    assert days_of("a", ["a", "a_20240801", "a_20240802", "b_20240801"]) == ["a_20240801", "a_20240802"]


def test_several_days_are_told_once() -> None:
    told = by_base(["b", "a_20240802", "a_20240801", "a_20240801", "c_20240801"])
    assert told == ["a (2 days)", "b", "c_20240801"]


def test_the_longest_base_leaves_room_for_a_day() -> None:
    base = names.collection_base("S" * 300, "ws_candles_1m")
    assert check_name(Placement(base, daily=True).at(MIDNIGHT))
    assert check_name(names.collection_name("S" * 300, "ws_candles_1m", MIDNIGHT))
    assert names.collection_base("1INCHUSDT", "ws_trades") == "s_1inchusdt_ws_trades"
