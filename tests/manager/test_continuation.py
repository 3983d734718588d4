"""`since last`: where the coverage ends, and what is missing before that."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given

from streamforge.manager.continuation import continuation, continued
from streamforge.manager.coverage.store import SeriesCoverage
from streamforge.manager.use_cases import KeyReused, StartRequest, UpToDate
from streamforge.manager.workflows.series.model import SourceChoice
from streamforge_utils.model.coverage import FILE_AWAITED, FROM_FILES_ALONE, SETTLED, Segment, Verdict
from streamforge_utils.model.errors import InvalidInput, RetryableError
from streamforge_utils.model.kinds.candles import Interval
from streamforge_utils.model.kinds.registry import series_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from tests.doubles.manualclock import ManualClock
from tests.doubles.scriptedexchange import ScriptedExchange
from tests.manager.execution.world import SERIES
from tests.manager.support import DAY_MS, DAY_START, MINUTE_MS, NOW, World, replace
from tests.model.strategies import SMALL, coverages

LAST = StartRequest(symbol="BTCUSDT", type="api_candles_1m", since="last")
MISSING = frozenset({Verdict.OURS, Verdict.UNKNOWN})


@given(coverages())
def test_it_begins_at_the_first_hole_behind_which_all_was_asked_for(segments: list[Segment]) -> None:
    """Compared with a walk over every instant; a second of these instants is a thousand of the real ones."""
    wide = [replace(one, start_ms=one.start_ms * 1000, end_ms=one.end_ms * 1000) for one in segments]
    found = continuation(wide)
    if not segments:
        assert found is None
        return
    assert found is not None
    verdicts: list[Verdict | None] = [None] * SMALL
    for one in segments:
        verdicts[one.start_ms : one.end_ms] = [one.verdict] * (one.end_ms - one.start_ms)
    end = max(at for at, verdict in enumerate(verdicts) if verdict is not None) + 1
    start, at = end, end - 1
    while at >= 0 and verdicts[at] not in (None, Verdict.EXPIRED):
        start = at if verdicts[at] in MISSING else start
        at -= 1
    assert (found.start_ms, found.end_ms) == (start * 1000, end * 1000)
    assert [*found.left, *found.repaired] == [one for one in wide if one.verdict not in SETTLED]
    assert all(one.start_ms >= found.start_ms for one in found.repaired)
    assert all(one.end_ms <= found.start_ms for one in found.left)


def test_a_hole_of_which_no_more_can_be_had_is_told_and_not_asked_for_again() -> None:
    floor = Segment(start_ms=0, end_ms=1000, verdict=Verdict.UNKNOWN, cause="the exchange gives no record before id 7")
    stored = Segment(start_ms=1000, end_ms=2000, verdict=Verdict.STORED, collection="c")
    found = continuation([floor, stored])
    assert found is not None
    assert (found.start_ms, found.repaired, found.left) == (2000, (), (floor,))


AUTO, REST, ARCHIVE = SourceChoice.AUTO, SourceChoice.REST, SourceChoice.ARCHIVE


@pytest.mark.parametrize(
    ("cause", "age_days", "source", "is_loaded"),
    [
        (FILE_AWAITED, 1, AUTO, True),
        (FILE_AWAITED, 1, REST, False),
        (FILE_AWAITED, 1, ARCHIVE, False),
        (FILE_AWAITED, 0, AUTO, False),  # its day is not over: there is no file
        (FILE_AWAITED, 9, AUTO, False),  # there will be none
        (f"{FROM_FILES_ALONE}: no file of it", 1, ARCHIVE, True),
        (f"{FROM_FILES_ALONE}: no file of it", 9, ARCHIVE, False),
        (f"{FROM_FILES_ALONE}: no file of it", 9, AUTO, True),
        (f"{FROM_FILES_ALONE}: no file of it", 9, REST, True),
        ("the exchange gives no record before id 7", 1, AUTO, False),
    ],
)
def test_a_hole_with_a_cause_is_loaded_again_where_that_may_help(
    cause: str, age_days: int, source: SourceChoice, is_loaded: bool
) -> None:
    begins_ms = DAY_START + (10 - age_days) * DAY_MS
    verdict = Verdict.EXCHANGE if cause == FILE_AWAITED else Verdict.UNKNOWN
    hole = Segment(start_ms=begins_ms, end_ms=begins_ms + MINUTE_MS, verdict=verdict, cause=cause)
    segments = [known(0, 10 - age_days), hole, replace(known(10, 10.2), start_ms=hole.end_ms)]
    now_ms = DAY_START + int(10.5 * DAY_MS)
    coverage = SeriesCoverage(series=SERIES, segments=tuple(segments))
    asked = replace(LAST, source=source)
    if source is ARCHIVE and not is_loaded:
        with pytest.raises(UpToDate):
            continued(asked, coverage, now_ms, now_ms, trading=True, archive=True)
        return
    found, span = continued(asked, coverage, now_ms, now_ms, trading=True, archive=True)
    end_ms = segments[-1].end_ms
    assert span == TimeRange(begins_ms if is_loaded else end_ms, end_ms if source is ARCHIVE else now_ms)
    assert [*found.repaired] == ([hole] if is_loaded else [])


def test_without_an_archive_no_file_is_awaited() -> None:
    hole = replace(known(9, 9.1, Verdict.EXCHANGE), cause=FILE_AWAITED)
    coverage = SeriesCoverage(series=SERIES, segments=(known(0, 9), hole))
    now_ms = hole.end_ms + 30_000
    with pytest.raises(UpToDate):
        continued(LAST, coverage, now_ms, now_ms, trading=True)


@pytest.mark.parametrize("series", [SERIES, series_of("BTCUSDT", "api_trades")])
def test_from_files_alone_it_ends_with_the_day_that_is_over(series: Series) -> None:
    coverage = SeriesCoverage(series=series, segments=(known(0, 8.5),))
    asked = replace(LAST, source=ARCHIVE)
    now_ms = DAY_START + 10 * DAY_MS + 5 * MINUTE_MS
    _, span = continued(asked, coverage, now_ms, now_ms, trading=True, archive=True)
    assert span == TimeRange(DAY_START + int(8.5 * DAY_MS), DAY_START + 10 * DAY_MS)
    with pytest.raises(UpToDate):
        continued(asked, coverage, now_ms - 2 * DAY_MS, now_ms - 2 * DAY_MS, trading=True, archive=True)
    new = SeriesCoverage(series=series)
    with pytest.raises(InvalidInput, match="of today there are no files yet"):
        continued(replace(asked, default_start="-1m"), new, now_ms, now_ms, trading=True, archive=True)


def known(start_day: float, end_day: float, verdict: Verdict = Verdict.STORED) -> Segment:
    start_ms, end_ms = (DAY_START + int(day * DAY_MS) for day in (start_day, end_day))
    collection = "c" if verdict is Verdict.STORED else None
    return Segment(start_ms=start_ms, end_ms=end_ms, verdict=verdict, collection=collection)


async def world_of(*segments: Segment, status: str = "TRADING") -> World:
    opens = range(DAY_START, NOW, MINUTE_MS)
    exchange = ScriptedExchange(Interval.M1, opens, now_ms=NOW + 30_000, status=status)
    world = World(clock=ManualClock(NOW + 3_600_000), exchange=exchange)
    await world.start()
    if segments:
        await world.deps.coverage.lay_over(SERIES, segments)
    return world


@pytest.mark.parametrize(
    ("segments", "start_day", "repaired", "left"),
    [
        ([known(0, 2)], 2, [], []),
        ([known(0, 2), known(2, 3, Verdict.CLOSED)], 3, [], []),
        ([known(0, 2), known(2, 3, Verdict.OURS), known(3, 4)], 2, [2], []),
        ([known(0, 2), known(3, 4)], 4, [], []),
        ([known(0, 1, Verdict.OURS), known(3, 4)], 4, [], [0]),
        ([known(0, 1, Verdict.OURS), known(1, 2, Verdict.EXPIRED), known(2, 4)], 4, [], [0]),
        ([known(0, 2), known(2, 4, Verdict.UNKNOWN)], 2, [2], []),
    ],
)
async def test_the_range_goes_from_there_to_the_last_bar_that_is_over_at_the_exchange(
    segments: Sequence[Segment], start_day: float, repaired: list[int], left: list[int]
) -> None:
    """The manager's own clock is an hour ahead."""
    world = await world_of(*segments)
    started = await world.manager.start(LAST)
    assert started.workflow.span == TimeRange(DAY_START + int(start_day * DAY_MS), NOW)
    assert started.workflow.requested == "since last"
    assert started.since is not None
    days = [
        [(one.start_ms - DAY_START) // DAY_MS for one in some] for some in (started.since.repaired, started.since.left)
    ]
    assert days == [repaired, left]
    assert (await world.manager.start(LAST)).joined


async def test_a_month_of_such_loads_shares_a_collection() -> None:
    world = await world_of(known(0, 2))
    assert (await world.manager.start(LAST)).workflow.collection == "btcusdt_api_candles_1m_2024_08_01"


async def test_a_series_of_which_nothing_is_known_needs_a_start() -> None:
    world = await world_of()
    with pytest.raises(InvalidInput, match="load a range first, or give a start with `from`") as refused:
        await world.manager.start(LAST)
    assert refused.value.field == "since"
    assert not world.deps.workflows.live
    started = await world.manager.start(replace(LAST, default_start="2024-08-05"))
    assert started.workflow.span == parse_time_range("2024-08-05:2024-08-11T00:00:30Z")


@pytest.mark.parametrize(
    ("status", "last_day", "ended"), [("TRADING", None, False), ("BREAK", 2, True), ("TRADING", 2, False)]
)
async def test_nothing_new_makes_no_workflow(status: str, last_day: int | None, ended: bool) -> None:
    """A series that was ended and is traded again goes on."""
    to_day = 10 if last_day is None else 3
    world = await world_of(known(0, to_day), status=status)
    if last_day is not None:
        state = await world.store.get("series", SERIES.id)
        assert state is not None
        body = state.body.replace(b'"last_ms":null', f'"last_ms":{DAY_START + last_day * DAY_MS}'.encode())
        world.store.damage("series", SERIES.id, body)
    if last_day is not None and not ended:
        assert (await world.manager.start(LAST)).new
        return
    with pytest.raises(UpToDate) as nothing:
        await world.manager.start(LAST, idempotency_key="k")
    assert (nothing.value.until_ms, nothing.value.ended) == (DAY_START + to_day * DAY_MS, ended)
    assert not world.deps.workflows.live
    assert not [id for kind, id in world.store.states if kind in ("idempotency-key", "code")]


async def test_an_exchange_that_does_not_answer_keeps_nobody_from_asking() -> None:
    world = await world_of(known(0, 2))
    assert isinstance(world.exchange, ScriptedExchange)
    world.exchange.failing = RetryableError("no route")
    assert (await world.manager.start(LAST)).workflow.span.end_ms == NOW + 3_600_000


async def test_the_same_key_gives_the_same_workflow_whatever_is_known_by_then() -> None:
    world = await world_of(known(0, 2))
    first = await world.manager.start(LAST, idempotency_key="k")
    await world.deps.coverage.lay_over(SERIES, [known(2, 10)])
    again = await world.manager.start(LAST, idempotency_key="k")
    assert (again.workflow.queue_id, again.replayed) == (first.workflow.queue_id, True)
    with pytest.raises(KeyReused):
        await world.manager.start(replace(LAST, default_start="2024"), idempotency_key="k")


@pytest.mark.parametrize(
    ("fields", "field", "told"),
    [
        ({"since": None}, "time_range", "time_range is missing"),
        ({"time_range": "2024-08"}, "since", "give one of them"),
        ({"since": "2024-08-01", "default_start": "2024"}, "from", "an instant is a start by itself"),
        ({"since": None, "time_range": "2024-08", "default_start": "2024"}, "from", "which is not asked for"),
        ({"since": "lsat"}, "since", "since 'lsat' is not understood"),
        ({"since": "2024-08:2024-09"}, "since", "is not understood"),
        ({"since": "2025"}, "since", "starts in the future"),
        ({"default_start": "2025"}, "from", "starts in the future"),
    ],
)
async def test_a_request_that_means_two_ranges_or_none_is_refused(
    fields: dict[str, str | None], field: str, told: str
) -> None:
    world = await world_of(known(0, 2))
    with pytest.raises(InvalidInput, match=told) as refused:
        await world.manager.start(replace(LAST, **fields))
    assert refused.value.field == field
    assert not world.deps.workflows.live


async def test_since_an_instant_is_until_now() -> None:
    world = await world_of()
    workflow = (await world.manager.start(replace(LAST, since="2024-08-03"))).workflow
    assert (workflow.requested, workflow.span.start_ms) == ("2024-08-03:", DAY_START + 2 * DAY_MS)
    assert workflow.span.end_ms == NOW + 30_000
