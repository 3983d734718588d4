from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.timeranges import TimeRange, format_ms, parse_time_range
from tests.model.strategies import YEAR_2100, seconds, spans, times

DAY = 86_400_000
AUGUST = 1_722_470_400_000


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2024", 1_704_067_200_000, 1_735_689_600_000),
        ("2024-08", AUGUST, AUGUST + 31 * DAY),
        ("2024-12", 1_733_011_200_000, 1_735_689_600_000),
        ("2024-02", 1_706_745_600_000, 1_709_251_200_000),
        ("2024-08-01", AUGUST, AUGUST + DAY),
        ("2024-12-31", 1_735_603_200_000, 1_735_689_600_000),
        ("2024-08-01T12:30Z", AUGUST, AUGUST + DAY),
        ("2024-08-01T12:30:15Z", AUGUST, AUGUST + DAY),
        ("2024-08-01:2024-08-02", AUGUST, AUGUST + DAY),
        ("2024-08-01T12:30Z:2024-08-01T12:30:15Z", AUGUST + 45_000_000, AUGUST + 45_015_000),
        ("2024:2024-08", 1_704_067_200_000, AUGUST),
        ("2024-08-01T12:30Z:2024-09", AUGUST + 45_000_000, AUGUST + 31 * DAY),
        ("1970", 0, 365 * DAY),
    ],
)
def test_forms(text: str, start: int, end: int) -> None:
    assert parse_time_range(text) == TimeRange(start, end)


REFUSED = ["", ":", "2024:", ":2024", "24", "2024-8", "2024-13", "2024-02-30", "2023-02-29", "2024-08-01T25:00Z"]
REFUSED += ["2024-08-01T12:30", "2024-08-01T12:30:60Z", "2024-08-01 12:30Z", "2024-08-01T12Z", "2024-08-01T12:30:15.5Z"]
REFUSED += ["2024-08-01T12:30+02:00", "x2024", "2024x", "2024\n", " 2024", "2024-08-01:2024-08-01", "2024:2023"]
REFUSED += [
    "2024:2024",
    "2024:2025:2026",
    "٢٠٢٤",
    "-2024",
    "0000",
    "1969",
    "9999",
    "9999-12",
    "9999-12-31",
    "2024-00",
    "1" * 9999,
]


@pytest.mark.parametrize("text", REFUSED)
def test_everything_else_is_refused_and_named(text: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(repr(text[:80])[:20])) as caught:
        parse_time_range(text)
    assert caught.value.field == "time_range"
    assert len(str(caught.value)) < 300


@given(st.text(max_size=40))
def test_any_text_is_a_range_or_invalid_input(text: str) -> None:
    try:
        found = parse_time_range(text)
    except InvalidInput:
        return
    assert found.start_ms < found.end_ms


@given(seconds, st.integers(1, 10**8))
def test_what_is_written_reads_back(start: int, length_s: int) -> None:
    span = TimeRange(start, start + length_s * 1000)
    assert parse_time_range(str(span)) == span


@given(times)
def test_format_keeps_every_millisecond_and_sorts_within_a_form(time_ms: int) -> None:
    from datetime import datetime

    text = format_ms(time_ms)
    moment = datetime.fromisoformat(text.replace("Z", "+00:00") if "T" in text else f"{text}T00:00+00:00")
    assert round(moment.timestamp() * 1000) == time_ms


@given(spans(), spans(), st.integers(0, 40))
def test_intersection_holds_what_both_hold(left: TimeRange, right: TimeRange, instant: int) -> None:
    common = left.intersection(right)
    assert common == right.intersection(left)
    assert (common is not None and instant in common) == (instant in left and instant in right)


@given(spans(YEAR_2100), times)
def test_clipping_never_looks_ahead(span: TimeRange, now: int) -> None:
    if span.start_ms >= now:
        with pytest.raises(InvalidInput, match="in the future"):
            span.clipped(now)
    else:
        assert span.clipped(now) == TimeRange(span.start_ms, min(span.end_ms, now))


@given(times, st.integers(0, 10**9))
def test_an_empty_range_cannot_be_made(start: int, back: int) -> None:
    with pytest.raises(ValueError, match="not after the start"):
        TimeRange(start, max(0, start - back))
