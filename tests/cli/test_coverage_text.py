"""Coverage for a person: the days of a live series are one line."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from streamforge.cli.coverage_text import by_day, is_kept, none_over, none_within, rest, show_segments
from streamforge.cli.session import Where
from streamforge.manager.coverage.answers import Coverage, Segment

DAY_MS = 86_400_000


def segment(
    day: int, collection: str | None, *, verdict: str = "stored", records: int = 10, cause: str = ""
) -> Segment:
    return Segment(
        start=f"day {day}",
        end=f"day {day + 1}",
        start_ms=day * DAY_MS,
        end_ms=(day + 1) * DAY_MS,
        verdict=verdict,
        collection=collection,
        records=records,
        cause=cause or msgspec.UNSET,
    )


def test_days_of_one_base_that_follow_each_other_are_one_line() -> None:
    days = [segment(n, f"t_2024080{n}") for n in range(1, 4)]
    (one,) = by_day(days)
    assert (one.start, one.end, one.records, one.collection) == ("day 1", "day 4", 30, "t (3 days)")
    assert by_day(days[:1]) == days[:1]


@pytest.mark.parametrize(
    "after",
    [
        segment(2, "u_20240802"),
        segment(2, "t"),
        segment(3, "t_20240803"),
        segment(2, None, verdict="unknown", records=0),
        segment(2, "t_20240802", cause="checksum-disputed: 1"),
    ],
)
def test_what_is_not_alike_has_a_line_of_its_own(after: Segment) -> None:
    assert by_day([segment(1, "t_20240801"), after]) == [segment(1, "t_20240801"), after]


def test_a_year_of_days_is_a_line_and_not_cut_off(capsys: pytest.CaptureFixture[str]) -> None:
    show_segments([segment(n, f"t_2024{1 + n // 28:02}{1 + n % 28:02}", records=0) for n in range(300)])
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("t (300 days)")


@pytest.mark.parametrize(
    ("verdicts", "type_name", "told"),
    [
        (["expired", "unknown", "stored"], "api_trades", "load BTCUSDT api_trades 1970-01-03:1970-01-04"),
        (["expired", "stored"], "api_trades", "load BTCUSDT api_trades 1970-01-02:1970-01-03"),
        (["expired", "lost"], "ws_orderbook", "what is lost cannot be had again"),
        (["expired", "stored"], "ws_orderbook", "what is past of it cannot be had"),
    ],
)
def test_what_retention_removed_is_loaded_again_only_where_nothing_else_lacks(
    verdicts: list[str], type_name: str, told: str
) -> None:
    segments = [segment(day, None, verdict=verdict) for day, verdict in enumerate(verdicts, 1)]
    known = Coverage(symbol="BTCUSDT", type=type_name, complete=False, segments=segments)
    assert told in rest(known, Where(data=Path("data")))
    assert is_kept(segments) is ("unknown" not in verdicts)


@pytest.mark.parametrize(
    ("type_name", "within", "over"),
    [
        ("api_candles_1h", "no candle opens", "no candle"),
        ("ws_candles_3d", "no candle opens", "no candle"),
        ("api_trades", "no trade happened", "nothing"),
        ("api_agg_trades", "no aggregated trade happened", "nothing"),
        ("ws_orderbook", "no record happened", "nothing"),
        ("api_of_a_plugin", "no record happened", "nothing"),
    ],
)
def test_what_a_range_does_not_have_is_called_by_its_name(type_name: str, within: str, over: str) -> None:
    assert none_within(type_name) == f"{within} in this range"
    assert none_over(type_name) == f"{over} of this range was over when the workflow was planned"
