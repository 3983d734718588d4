"""When cron expressions fire, against a walk over every minute, across the changes of clocks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamforge.manager.schedules.fire_times import MOST_COUNTED, MOST_LISTED, FireTimes, Passed, checked_cron
from streamforge_utils.model.errors import InvalidInput

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
CHANGES = {
    "Europe/Berlin": (datetime(2024, 3, 31, 1, tzinfo=UTC), datetime(2024, 10, 27, 1, tzinfo=UTC)),
    "America/New_York": (datetime(2024, 3, 10, 7, tzinfo=UTC), datetime(2024, 11, 3, 6, tzinfo=UTC)),
    "Asia/Kolkata": (datetime(2024, 3, 31, tzinfo=UTC),),
    "UTC": (datetime(2024, 2, 29, tzinfo=UTC),),
}


class Field(msgspec.Struct, frozen=True):
    """A field of an expression, and the values that it stands for."""

    text: str
    values: frozenset[int]


@st.composite
def fields(draw: st.DrawFn, first: int, last: int, stars: tuple[str, ...] = ("*",)) -> Field:
    whole = range(first, last + 1)
    if (star := draw(st.sampled_from([*stars, ""]))) != "":
        return Field(star, frozenset(whole[:: int(star.partition("/")[2] or 1)]))
    chosen = draw(st.sets(st.sampled_from(whole), min_size=1, max_size=3))
    return Field(",".join(map(str, sorted(chosen))), frozenset(chosen))


class Expression(msgspec.Struct, frozen=True):
    minute: Field
    hour: Field
    day: Field
    weekday: Field

    @property
    def text(self) -> str:
        return f"{self.minute.text} {self.hour.text} {self.day.text} * {self.weekday.text}"

    def has(self, day: date) -> bool:
        both = [day.day in self.day.values, day.isoweekday() % 7 in self.weekday.values]
        either = not self.day.text.startswith("*") and not self.weekday.text.startswith("*")
        return any(both) if either else all(both)


expressions = st.builds(
    Expression,
    minute=fields(0, 59, ("*", "*/10", "*/17")),
    hour=st.one_of(fields(0, 23, ("*", "*/2")), fields(1, 3, ())),
    day=fields(1, 31),
    weekday=fields(0, 6),
)
EVERY, TWO, HALF_PAST = Field("*", frozenset(range(32))), Field("2", frozenset({2})), Field("30", frozenset({30}))


def walked(asked: Expression, zone: ZoneInfo, start: datetime, end: datetime) -> list[int]:
    """The fire times in (start, end], found minute by minute."""
    by_real_time = asked.minute.text.startswith("*") or asked.hour.text.startswith("*")
    found = set()
    minutes = int((end - start).total_seconds()) // 60
    if by_real_time:
        for number in range(minutes + 1):
            at = start + timedelta(minutes=number)
            local = at.astimezone(zone)
            if local.minute in asked.minute.values and local.hour in asked.hour.values and asked.has(local.date()):
                found.add(at)
    else:
        wall = (start - timedelta(days=1)).astimezone(zone).replace(tzinfo=None)
        for number in range(minutes + 3 * 1440):
            naive = wall + timedelta(minutes=number)
            if naive.minute in asked.minute.values and naive.hour in asked.hour.values and asked.has(naive.date()):
                while (at := naive.replace(tzinfo=zone).astimezone(UTC)).astimezone(zone).replace(tzinfo=None) != naive:
                    naive += timedelta(minutes=1)
                found.add(at)
    return sorted(int(at.timestamp()) * 1000 for at in found if start < at <= end)


@given(expressions, st.sampled_from(sorted(CHANGES)), st.integers(0, 1), st.integers(-1500, 1500))
@example(Expression(HALF_PAST, TWO, EVERY, EVERY), "Europe/Berlin", 0, -600)
@example(Expression(HALF_PAST, TWO, EVERY, EVERY), "Europe/Berlin", 1, -30)
@example(Expression(HALF_PAST, TWO, EVERY, EVERY), "Europe/Berlin", 1, 10)
@example(Expression(Field("*/10", frozenset(range(0, 60, 10))), TWO, EVERY, EVERY), "Europe/Berlin", 1, -60)
def test_it_fires_when_a_walk_over_every_minute_says(asked: Expression, zone: str, change: int, before: int) -> None:
    of = CHANGES[zone]
    start = of[change % len(of)] + timedelta(minutes=before)
    end = start + timedelta(days=2)
    start_ms, end_ms = (int(at.timestamp()) * 1000 for at in (start, end))
    expected = walked(asked, ZoneInfo(zone), start, end)
    times = FireTimes(asked.text, zone)
    assert list(until(times.after(start_ms), end_ms)) == expected
    passed = times.passed(start_ms, end_ms)
    assert passed.times == tuple(expected[-MOST_LISTED:])
    assert passed.at_least == (MOST_COUNTED < passed.count < len(expected))
    assert passed.at_least or passed.count == len(expected)


def until(times: Iterator[int], end_ms: int) -> Iterator[int]:
    for time_ms in times:
        if time_ms > end_ms:
            return
        yield time_ms


def test_a_time_that_is_left_out_in_spring_fires_at_the_first_minute_after_it_and_one_that_is_repeated_once() -> None:
    times = FireTimes("30 2 * * *", "Europe/Berlin")
    spring, autumn = (ms(at) for at in ("2024-03-30T12:00Z", "2024-10-26T12:00Z"))
    assert list(until(times.after(spring), spring + 2 * DAY_MS)) == [ms("2024-03-31T01:00Z"), ms("2024-04-01T00:30Z")]
    assert list(until(times.after(autumn), autumn + 2 * DAY_MS)) == [ms("2024-10-27T00:30Z"), ms("2024-10-28T01:30Z")]
    hourly = FireTimes("30 * * * *", "Europe/Berlin")
    assert len(list(until(hourly.after(autumn), autumn + DAY_MS))) == 24


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * 1000


def test_of_years_of_missed_minutes_the_newest_are_found_without_a_look_at_all() -> None:
    now_ms = ms("2024-08-01T00:00Z")
    passed = FireTimes("* * * * *", "UTC").passed(now_ms - 1000 * DAY_MS, now_ms)
    assert passed.times == tuple(range(now_ms - 99 * MINUTE_MS, now_ms + 1, MINUTE_MS))
    assert (passed.count, passed.at_least) == (60 * 2**6, True)
    assert FireTimes("* * * * *", "UTC").passed(now_ms, now_ms) == Passed()


@pytest.mark.parametrize(
    ("cron", "timezone", "field", "told"),
    [
        ("0 0 30 2 *", "UTC", "cron", "never fires: none of its months has such a day"),
        ("0 0 31 2,4,6 *", "UTC", "cron", "never fires"),
        ("0 0 32 * *", "UTC", "cron", "is not understood (Bad day-of-month)"),
        ("60 * * * *", "UTC", "cron", "(Bad minute)"),
        ("5-1 * * * *", "UTC", "cron", "(Bad minute)"),
        ("*/0 * * * *", "UTC", "cron", "(Bad minute)"),
        ("", "UTC", "cron", "has 0 fields"),
        ("0 0 * *", "UTC", "cron", "has 4 fields"),
        ("*/5 * * * * *", "UTC", "cron", "fires once a minute at most"),
        ("@daily", "UTC", "cron", "write '0 0 * * *'"),
        ("0 0 * * *", "Europe/Moskow", "timezone", "timezone 'Europe/Moskow' is not known"),
        ("0 0 * * *", "../../etc/passwd", "timezone", "is not known"),
        ("0 0 * * *", "", "timezone", "is not known"),
    ],
)
def test_an_expression_that_is_none_or_never_fires_is_refused(cron: str, timezone: str, field: str, told: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        checked_cron(cron, timezone, ms("2024-08-01T00:00Z"))
    assert told in str(refused.value)
    assert refused.value.field == field


def test_a_day_that_only_leap_years_have_fires() -> None:
    found = checked_cron(" 0  0 29 2 * ", "UTC", ms("2024-08-01T00:00Z"))
    assert found.cron == "0 0 29 2 *"
    assert found.next(ms("2024-08-01T00:00Z")) == ms("2028-02-29T00:00Z")
