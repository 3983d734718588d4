"""Which source each part of a range comes from, and the reason that a person reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamforge.manager.engine.lifecycle.rounds import MAX_RANGES
from streamforge.manager.workflows.history.planner import planned, prepare
from streamforge.manager.workflows.history.source_plan import Sources
from streamforge.manager.workflows.series.model import Plan
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.kinds.candles import Interval
from streamforge_utils.model.kinds.registry import kind_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from streamforge_utils.ports.archive import ArchiveFile
from streamforge_utils.runtime.life.worker_definition import Source
from tests.doubles import ticks
from tests.doubles.memoryarchive import MemoryArchive, published, with_files
from tests.doubles.scriptedexchange import ScriptedExchange
from tests.manager.support import DAY_MS, MINUTE_MS

SERIES = Series("BTCUSDT", "candles", "1m")
NOW = parse_time_range("2024-11-28T12:00Z:2024-11-28T12:01Z").start_ms
MONTHS = [published(f"2024-{month:02}", 44_640) for month in range(1, 11)]
DAYS = [published(f"2024-11-{day:02}") for day in range(1, 27)]
YEAR = "2024-01-01:2024-11-28T12:00Z"


@pytest.fixture(autouse=True)
def _files() -> Iterator[None]:
    with with_files(SERIES):
        yield


async def plan_of(
    text: str, files: Sequence[ArchiveFile], known: Sequence[Segment] = (), **how: bool | str
) -> tuple[Plan, MemoryArchive]:
    """The plan of candles that there are since 2023."""
    start_ms = parse_time_range("2023").start_ms
    there = ScriptedExchange(Interval.M1, range(start_ms, NOW, MINUTE_MS), now_ms=NOW)
    archive = MemoryArchive(files)
    plan = await prepare(
        there,
        SERIES,
        parse_time_range(text),
        tuple(known),
        exchange_now_ms=NOW,
        again=bool(how.pop("again", False)),
        archive=archive,
        **how,
    )
    return plan, archive


def codes(plan: Plan) -> list[tuple[str, ...]]:
    return [part.codes for part in plan.parts]


def told(plan: Plan) -> list[tuple[str, str, str]]:
    return [(str(part.span), part.source.value, part.reason) for part in plan.parts]


async def test_a_year_is_two_parts_and_the_last_one_takes_three_requests() -> None:
    plan, archive = await plan_of(YEAR, [*MONTHS, *DAYS])
    there = ScriptedExchange(Interval.M1, range(parse_time_range("2023").start_ms, NOW, MINUTE_MS), now_ms=NOW)
    span = parse_time_range(YEAR)
    _, sources = await planned(there, SERIES, span, (), exchange_now_ms=NOW, again=False, archive=archive)
    assert sources is not None
    assert [sources.requests(part.span) for part in plan.parts if part.source is Source.REST] == [3], "of 2,160 candles"
    assert told(plan) == [
        (
            "2024-01-01:2024-11-27",
            "archive",
            "2024-01 to 2024-11-26: 10 monthly and 26 daily files of 9.7 MB instead of 477 requests",
        ),
        ("2024-11-27:2024-11-28T12:00Z", "rest", "no file of 2024-11-27 yet; 2024-11-28 is not over"),
    ]
    assert codes(plan) == [("files-save-requests",), ("no-file", "day-not-over")]
    assert plan.expected == plan.bars == (NOW - parse_time_range("2024").start_ms) // MINUTE_MS


async def test_one_month_names_its_file() -> None:
    plan, _ = await plan_of("2024-03", MONTHS)
    assert told(plan) == [
        ("2024-03-01:2024-04-01", "archive", "2024-03: a monthly file of 893 kB instead of 45 requests")
    ]
    again, _ = await plan_of("2024-03", MONTHS, again=True)
    assert again.parts[0].reason == f"it was asked for again: {plan.parts[0].reason}"
    assert codes(again) == [("asked-again", "files-save-requests")]


async def test_for_a_few_requests_the_archive_is_not_even_asked() -> None:
    plan, archive = await plan_of("2024-03-05", MONTHS)
    assert (told(plan), archive.asked) == ([("2024-03-05:2024-03-06", "rest", "2 requests")], [])
    assert codes(plan) == [("few-requests",)]
    plan, archive = await plan_of("2024-03", MONTHS, [stored("2024-03-02:2024-03-31")])
    assert [part.source for part in plan.parts] == [Source.REST, Source.REST], "two days, each two requests"
    assert archive.asked == []


async def test_a_day_without_a_file_is_asked_for_by_requests() -> None:
    days = [published(f"2024-11-{day:02}") for day in (1, 2, 3, 4, 5, 7, 8, 9, 10, 11)]
    plan, _ = await plan_of("2024-11-01:2024-11-12", days)
    assert told(plan) == [
        ("2024-11-01:2024-11-06", "archive", "2024-11-01 to 2024-11-05: 5 daily files of 144 kB instead of 8 requests"),
        ("2024-11-06:2024-11-07", "rest", "no file of 2024-11-06"),
        ("2024-11-07:2024-11-12", "archive", "2024-11-07 to 2024-11-11: 5 daily files of 144 kB instead of 8 requests"),
    ]


async def test_where_files_alone_are_wanted_what_has_none_is_unknown_with_the_cause() -> None:
    plan, _ = await plan_of("2024-11-24:2024-11-28T12:00Z", DAYS, alone=True)
    assert [part.source for part in plan.parts] == [Source.ARCHIVE], "also where a few requests would do"
    (lost,) = plan.settled
    assert (str(lost.span), lost.verdict) == ("2024-11-27:2024-11-28T12:00Z", Verdict.UNKNOWN)
    assert lost.cause == "it was wanted from files alone: no file of 2024-11-27 yet; 2024-11-28 is not over"
    assert plan.bars == plan.expected == 3 * 1440


async def test_an_archive_that_is_down_is_done_without_and_the_reason_says_so() -> None:
    archive = MemoryArchive(MONTHS)
    archive.failing = RetryableError("no route to it")
    sources = Sources(kind=kind_of(SERIES), now_ms=NOW, records=minutes)
    span = parse_time_range("2024-03")
    (part,) = (await sources.divide(archive, SERIES, [span])).parts
    assert (part.span, part.source) == (span, Source.REST)
    assert (part.reason, part.codes) == ("the archive does not answer: no route to it", ("archive-failed",))
    with pytest.raises(RetryableError, match="no route"):
        await Sources(kind=kind_of(SERIES), now_ms=NOW, records=minutes, alone="so").divide(archive, SERIES, [span])
    plan, other = await plan_of("2024-03", MONTHS, without="loader-producer: 3 attempts failed")
    assert (told(plan)[0][1:], other.asked) == (("rest", "loader-producer: 3 attempts failed"), [])


async def test_very_many_parts_become_fewer_and_all_of_it_is_loaded() -> None:
    start_ms = parse_time_range("2000").start_ms
    files = [day_file(start_ms, number) for number in range(0, 2 * MAX_RANGES, 2)]
    ranges = [
        TimeRange(start_ms + number * 10 * DAY_MS, start_ms + (number * 10 + 9) * DAY_MS)
        for number in range(2 * MAX_RANGES // 10)
    ]
    sources = Sources(kind=kind_of(SERIES), now_ms=NOW, records=lambda span: minutes(span) * 10)
    found = await sources.divide(MemoryArchive(files), SERIES, ranges)
    assert MAX_RANGES - 10 < len(found.parts) <= MAX_RANGES
    assert whole([part.span for part in found.parts]) == ranges
    assert found.parts[0].reason == "its parts are too many for files"
    assert found.parts[0].codes == ("too-many-parts",)


def day_file(start_ms: int, number: int) -> ArchiveFile:
    span = TimeRange(start_ms + number * DAY_MS, start_ms + (number + 1) * DAY_MS)
    return ArchiveFile(path=f"BTCUSDT-{number}", span=span, size=28_800)


def minutes(span: TimeRange) -> int:
    return (span.end_ms - span.start_ms) // MINUTE_MS


def stored(text: str) -> Segment:
    span = parse_time_range(text)
    return Segment(start_ms=span.start_ms, end_ms=span.end_ms, verdict=Verdict.STORED, collection="c")


def whole(spans: Sequence[TimeRange]) -> list[TimeRange]:
    """Spans that follow each other, joined; they must not overlap."""
    found: list[TimeRange] = []
    for one in spans:
        if found and found[-1].end_ms == one.start_ms:
            found[-1] = TimeRange(found[-1].start_ms, one.end_ms)
        else:
            assert not found or found[-1].end_ms < one.start_ms
            found.append(one)
    return found


HOURS = st.lists(st.integers(0, 24 * 30), min_size=2, max_size=12, unique=True).map(sorted)


@given(hours=HOURS, days=st.sets(st.integers(0, 30)), floor_day=st.integers(0, 30), alone=st.booleans())
async def test_parts_are_all_of_what_is_wanted_and_files_have_what_they_are_to_give(
    hours: list[int], days: set[int], floor_day: int, alone: bool
) -> None:
    start_ms = NOW - 20 * DAY_MS
    begin_ms = start_ms - start_ms % DAY_MS
    floor_ms = begin_ms + floor_day * DAY_MS
    spans = [TimeRange(begin_ms + a * 3_600_000, begin_ms + b * 3_600_000) for a, b in pairwise(hours)][::2]
    ranges = [
        TimeRange(a, b)
        for one in spans
        for a, b in ((one.start_ms, min(one.end_ms, floor_ms)), (max(one.start_ms, floor_ms), one.end_ms))
        if a < b
    ]
    files = [day_file(begin_ms, day) for day in sorted(days)]
    with with_files(SERIES):
        sources = Sources(
            kind=kind_of(SERIES),
            now_ms=NOW,
            records=minutes,
            floor_ms=floor_ms,
            floor="no older ones",
            alone="so" if alone else "",
        )
        found = await sources.divide(MemoryArchive(files), SERIES, ranges)
    pieces = sorted([*(part.span for part in found.parts), *(one.span for one in found.unknown)])
    assert whole(pieces) == whole(ranges)
    for part in found.parts:
        assert part.reason
        if part.source is Source.ARCHIVE:
            first, last = part.span.start_ms - begin_ms, part.span.end_ms - 1 - begin_ms
            assert days.issuperset(range(first // DAY_MS, last // DAY_MS + 1))
            assert part.span.end_ms <= NOW
        else:
            assert not alone
            assert part.span.start_ms >= floor_ms
    assert all(one.cause and one.verdict is Verdict.UNKNOWN for one in found.unknown)
    assert alone or all(one.end_ms <= floor_ms for one in found.unknown)


@pytest.mark.usefixtures("ticks")
async def test_before_the_first_record_that_requests_give_files_are_the_only_source() -> None:
    day_ms = ticks.START - ticks.START % DAY_MS
    market = [(100 + number, ticks.START + number * 1000) for number in range(100)]
    there = ticks.TickExchange(market, now_ms=ticks.NOW)
    span = TimeRange(day_ms - 2 * DAY_MS, ticks.START + 50_000)
    archive = MemoryArchive([day_file(day_ms, -1), day_file(day_ms, 0)])
    cause = "the exchange gives no record before id 100"
    with with_files(ticks.SERIES):
        plan = await prepare(
            there, ticks.SERIES, span, (), exchange_now_ms=ticks.NOW + DAY_MS, again=False, archive=archive
        )
    assert [(part.span, part.source) for part in plan.parts] == [
        (TimeRange(day_ms - DAY_MS, ticks.START), Source.ARCHIVE),
        (TimeRange(ticks.START, ticks.START + 50_000), Source.ARCHIVE),
    ]
    assert plan.parts[0].reason.endswith(f"2 daily files of 57.6 kB; {cause}")
    (lost,) = plan.settled
    assert (lost.span, lost.cause) == (TimeRange(day_ms - 2 * DAY_MS, day_ms - DAY_MS), cause)
    assert (plan.floor_ms, plan.floor_id) == (ticks.START, 100)
