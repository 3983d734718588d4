from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.timeranges import (
    TimeRange,
    format_ms,
    is_relative,
    iso_ms,
    parse_time_range,
    resolve_time_range,
)
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


NOW = AUGUST + 45_045_000
"""2024-08-01T12:30:45Z."""
TODAY = AUGUST


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2024-07:", AUGUST - 31 * DAY, NOW),
        ("2024-08-01T12:30Z:", AUGUST + 45_000_000, NOW),
        ("2024-07:now", AUGUST - 31 * DAY, NOW),
        ("2024-07-31:+1d", AUGUST - DAY, AUGUST),
        ("today", TODAY, NOW),
        ("today:", TODAY, NOW),
        ("yesterday", TODAY - DAY, TODAY),
        ("yesterday:", TODAY - DAY, NOW),
        ("yesterday:today", TODAY - DAY, TODAY),
        ("-30d", NOW - 30 * DAY, NOW),
        ("-30days", NOW - 30 * DAY, NOW),
        ("-30d:-1d", NOW - 30 * DAY, NOW - DAY),
        ("-30d:2024-08", NOW - 30 * DAY, AUGUST),
        ("-24h", NOW - DAY, NOW),
        ("-90m", NOW - 5_400_000, NOW),
        ("-90min", NOW - 5_400_000, NOW),
        ("-45s", NOW - 45_000, NOW),
        ("-2w", NOW - 14 * DAY, NOW),
        ("-1M", NOW - 31 * DAY, NOW),
        ("-1mo", NOW - 31 * DAY, NOW),
        ("-1y", NOW - 366 * DAY, NOW),  # 2024 is a leap year
    ],
)
def test_what_is_relative_is_resolved_with_the_moment(text: str, start: int, end: int) -> None:
    assert is_relative(text)
    assert resolve_time_range(text, NOW) == TimeRange(start, end)
    assert resolve_time_range(text, NOW + 999) == TimeRange(start, end), "now is a whole second"
    absolute = str(resolve_time_range(text, NOW))
    assert parse_time_range(absolute) == TimeRange(start, end), "so it can be stored"


def test_a_month_before_the_last_of_march_is_the_last_of_february() -> None:
    end_of_march = parse_time_range("2023-03-31").start_ms
    assert resolve_time_range("-1M", end_of_march).start_ms == parse_time_range("2023-02-28").start_ms


@pytest.mark.parametrize("text", ["2024", "2024-08", "2024-08-01:2024-08-02", "2030"])
def test_what_is_absolute_stays_what_it_is(text: str) -> None:
    assert not is_relative(text)
    assert resolve_time_range(text, NOW) == parse_time_range(text)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("30d", "did you mean -30d?"),
        ("last 30 days", "did you mean -30days?"),
        ("Today", "did you mean today?"),
        (" 2024", "did you mean 2024?"),
        ("2024-8-1", "did you mean 2024-08-01?"),
        ("2024-01..2024-02", "did you mean 2024-01:2024-02?"),
        ("2024-01-01 to 2024-02-01", "did you mean 2024-01-01:2024-02-01?"),
        ("2024-01-01/2024-02-01", "did you mean 2024-01-01:2024-02-01?"),
        ("2024-08-01 12:30", "did you mean 2024-08-01T12:30Z?"),
        ("2024-07-31T01:00:2024-08-01T02:00", "did you mean 2024-07-31T01:00Z:2024-08-01T02:00Z?"),
        ("tomorrow", "write 2024, 2024-08, 2024-08-01 or 2024-08-01T12:30Z, alone or as START:END"),
        ("now", "or today, yesterday, -30d, in UTC"),
        ("2024-13:", "'2024-13' is no date: month must be in 1..12"),
        ("2025:", "time_range '2025:' starts in the future (now is 2024-08-01T12:30:45Z): choose an earlier start"),
        ("-0d", "time_range '-0d' starts in the future"),
        ("-5x", "'5x' has no unit that is known: s, m (minutes), h, d, w, M (months) and y are"),
        ("-999999999d", "'999999999d' is too long"),
        ("-99y", "begins before 1970"),
        ("-1d:-2d", "the end is not after the start; did you mean 2024-07-30T12:30:45Z:2024-07-31T12:30:45Z?"),
        ("yesterday:2024-07", "the end is not after the start"),
    ],
)
def test_what_was_probably_meant_is_named(text: str, advice: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(advice)) as caught:
        resolve_time_range(text, NOW)
    assert caught.value.field == "time_range"
    assert repr(text) in str(caught.value)


@given(
    st.text(alphabet="0123456789-:+TZdhmMwy today", max_size=24) | st.text(max_size=40), times.filter(lambda t: t > DAY)
)
def test_any_words_are_a_range_of_whole_seconds_or_invalid_input(text: str, now: int) -> None:
    found, refused = None, ""
    try:
        found = resolve_time_range(text, now)
    except InvalidInput as error:
        refused = str(error)
    assert len(refused) < 400
    if found is None:
        return
    assert parse_time_range(str(found)) == found
    if is_relative(text):
        assert found.start_ms < now


@given(times)
def test_iso_times_have_one_width_and_read_back(time_ms: int) -> None:
    from datetime import datetime

    text = iso_ms(time_ms)
    assert len(text) == len("2024-08-01T12:30:00.000Z")
    assert round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000) == time_ms


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
