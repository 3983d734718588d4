from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamforge.manager.execution import survey as survey_module
from streamforge.manager.execution.proof import HoleUnanswered, ask_again, count, prove
from streamforge.manager.execution.record_count import verdict_of
from streamforge.manager.execution.survey import Survey, survey
from streamforge.manager.persistence.coverage_store import SeriesCoverage
from streamforge.manager.workflow import Plan, Workflow
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.model.kinds.candles import Candle, Interval, candle_key
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from streamforge_utils.ports.store import Document
from tests.doubles.memorystore import MemoryStore
from tests.doubles.scriptedexchange import Question, ScriptedExchange
from tests.manager.execution.world import exchange_of
from tests.manager.support import DAY_MS, DAY_START, MINUTE_MS, NOW, World, accepted, replace, rest

M1, S1 = Interval.M1, Interval.S1
COLLECTION = "btcusdt"
SERIES = Series("BTCUSDT", "candles", "1m")


async def surveyed(
    times: Iterable[int], span: TimeRange, interval: Interval = M1, phase_ms: int | None = None
) -> Survey:
    store = MemoryStore()
    store.documents[COLLECTION] = {
        key: Document(key, 1, b"{}") for key in (candle_key("BTCUSDT", interval.value, time) for time in times)
    }
    return await survey(store, COLLECTION, Series("BTCUSDT", "candles", interval.value), interval.rule, span, phase_ms)


def minutes(*numbers: int) -> list[int]:
    return [DAY_START + number * MINUTE_MS for number in numbers]


def span(first: int, last: int) -> TimeRange:
    """From minute `first` to minute `last` of the day."""
    return TimeRange(*minutes(first, last))


@pytest.mark.parametrize(
    ("there", "holes"),
    [
        (range(10), []),
        (range(1, 10), [(0, 1)]),
        (range(9), [(9, 10)]),
        ((0, 1, 2, 5, 6, 9), [(3, 5), (7, 9)]),
        ((), [(0, 10)]),
        ((5,), [(0, 5), (6, 10)]),
        (range(-5, 20), []),
    ],
)
async def test_holes(there: Sequence[int], holes: list[tuple[int, int]]) -> None:
    found = await surveyed(minutes(*there), span(0, 10))
    assert found.holes == tuple(span(*hole) for hole in holes)
    assert (found.expected, found.stored) == (10, len([n for n in there if 0 <= n < 10]))


async def test_records_beside_the_grid_fill_no_hole() -> None:
    found = await surveyed([*minutes(0, 1), DAY_START + 2 * MINUTE_MS + 1, *minutes(3)], span(0, 4))
    assert found.holes == (span(2, 3),)


async def test_other_series_in_the_same_collection_do_not_count() -> None:
    store = MemoryStore()
    for interval, symbol in ((Interval.M3, "BTCUSDT"), (M1, "BTCUSDTX"), (M1, "ABTCUSDT")):
        store.documents.setdefault(COLLECTION, {})[candle_key(symbol, interval.value, DAY_START)] = Document("", 1, b"")
    assert (await survey(store, COLLECTION, SERIES, M1.rule, span(0, 1), None)).stored == 0


@given(st.sets(st.integers(-3, 43)), st.sets(st.integers(0, 40)), st.integers(1, 9))
async def test_holes_are_the_grid_without_what_is_stored(there: set[int], beside: set[int], page: int) -> None:
    offgrid = {DAY_START + number * MINUTE_MS + 7 for number in beside}
    before, survey_module._KEYS_A_PAGE = survey_module._KEYS_A_PAGE, page
    try:
        found = await surveyed({*minutes(*there), *offgrid}, span(0, 40))
    finally:
        survey_module._KEYS_A_PAGE = before
    missing = {n for n in range(40) if any(minutes(n)[0] in hole for hole in found.holes)}
    assert missing == set(range(40)) - there
    assert all(a.end_ms < b.start_ms for a, b in zip(found.holes, found.holes[1:], strict=False)), "joined, sorted"
    assert all(
        (hole.start_ms - DAY_START) % MINUTE_MS == (hole.end_ms - DAY_START) % MINUTE_MS == 0 for hole in found.holes
    )
    assert found.stored == len([n for n in there if 0 <= n < 40]) + len([n for n in beside if n < 40])


async def test_a_year_of_seconds_of_which_little_is_there_costs_next_to_nothing() -> None:
    year = parse_time_range("2024")
    found = await surveyed([year.start_ms, year.start_ms + 1000, year.start_ms + 3000], year, S1)
    assert found.expected == 366 * 86_400
    assert [h.start_ms - year.start_ms for h in found.holes] == [2000, 4000]
    assert found.holes[-1].end_ms == year.end_ms


@pytest.mark.parametrize(
    ("interval", "text", "phase", "gone", "hole"),
    [
        (Interval.MO1, "2024", None, 2, "2024-03-01:2024-04-01"),
        (Interval.W1, "2024-02", None, 1, "2024-02-12:2024-02-19"),
        (Interval.D3, "2024-02", 1_704_153_600_000, 0, "2024-02-01:2024-02-04"),
    ],
)
async def test_long_bars(interval: Interval, text: str, phase: int | None, gone: int, hole: str) -> None:
    wanted = parse_time_range(text)
    opens = list(interval.rule.times(wanted.start_ms, wanted.end_ms, phase))
    found = await surveyed(opens[:gone] + opens[gone + 1 :], wanted, interval, phase)
    assert [str(h) for h in found.holes] == [str(parse_time_range(hole))]
    there = ScriptedExchange(interval, opens, now_ms=NOW + 999 * DAY_MS)
    (segment,) = await ask_again(
        there, Series("BTCUSDT", "candles", interval.value), verdict_of(found.holes[0], Verdict.UNKNOWN), phase
    )
    assert (segment.verdict, segment.span) == (Verdict.OURS, found.holes[0])


def minutes_exchange(*numbers: int) -> ScriptedExchange:
    return ScriptedExchange(M1, minutes(*numbers), now_ms=NOW)


async def verdicts(there: ScriptedExchange, hole: TimeRange) -> list[tuple[int, int, str]]:
    return [
        ((s.start_ms - DAY_START) // MINUTE_MS, (s.end_ms - DAY_START) // MINUTE_MS, s.verdict.value)
        for s in await ask_again(there, SERIES, verdict_of(hole, Verdict.UNKNOWN), None)
    ]


async def test_each_bar_of_a_hole_is_judged_by_itself() -> None:
    found = await verdicts(minutes_exchange(0, 4, 5, 9, 10), span(3, 10))
    assert found == [(3, 4, "exchange"), (4, 6, "ours"), (6, 9, "exchange"), (9, 10, "ours")]


async def test_what_is_beyond_the_hole_is_not_taken_for_it() -> None:
    assert await verdicts(minutes_exchange(2, 5), span(3, 5)) == [(3, 5, "exchange")]


@pytest.mark.parametrize("liar", range(4))
async def test_a_hole_is_the_exchanges_only_if_no_answer_fills_it(liar: int) -> None:
    there = minutes_exchange(*range(100))

    def only_one_is_honest(number: int, question: Question, page: Sequence[Candle]) -> Sequence[Candle]:
        return page if number == liar else []

    there.lie = only_one_is_honest
    assert await verdicts(there, span(3, 9)) == [(3, 9, "ours")]
    empty = minutes_exchange()
    assert await verdicts(empty, span(3, 9)) == [(3, 9, "exchange")]
    assert len({question.span for question in empty.asked}) == 2, "cut differently"


async def test_a_big_hole_is_asked_for_in_pieces_that_fit_a_page() -> None:
    there = minutes_exchange(*range(950), 1805)
    assert await verdicts(there, span(100, 1900)) == [
        (100, 950, "ours"),
        (950, 1805, "exchange"),
        (1805, 1806, "ours"),
        (1806, 1900, "exchange"),
    ]
    assert all((q.span.end_ms - q.span.start_ms) // MINUTE_MS <= 1000 for q in there.asked)


async def test_what_cannot_be_asked_is_no_verdict() -> None:
    there = minutes_exchange()
    there.failing = RetryableError("no answer")
    with pytest.raises(RetryableError):
        await verdicts(there, span(0, 1))
    there.failing = PermanentError("blocked here")
    with pytest.raises(PermanentError, match=r"the hole 2024-08-01:.* could not be asked for: blocked here"):
        await verdicts(there, span(0, 1))


def a_plan(wanted: TimeRange, load: TimeRange | None) -> Plan:
    bars = len(M1.rule.times(wanted.start_ms, wanted.end_ms))
    return Plan(exchange_now_ms=NOW, parts=() if load is None else rest(load), bars=bars)


async def a_world(there: dict[str, Sequence[int]], known: Sequence[Segment], opens: Sequence[int]) -> World:
    world = World(exchange=minutes_exchange(*opens))
    await world.start()
    for collection, numbers in there.items():
        keys = [candle_key("BTCUSDT", "1m", time) for time in minutes(*numbers)]
        world.store.documents[collection] = {key: Document(key, 1, b"{}") for key in keys}
    await world.deps.coverage.lay_over(SERIES, known)
    await world.deps.workflows.create(a_workflow())
    return world


def told(segments: Sequence[Segment]) -> list[tuple[str, int, int, int, str | None]]:
    return [
        (
            s.verdict.value,
            (s.start_ms - DAY_START) // MINUTE_MS,
            (s.end_ms - DAY_START) // MINUTE_MS,
            s.records,
            s.collection,
        )
        for s in segments
    ]


def stored(first: int, last: int, collection: str) -> Segment:
    part = span(first, last)
    return Segment(start_ms=part.start_ms, end_ms=part.end_ms, verdict=Verdict.STORED, collection=collection)


def a_workflow(last: int = 10) -> Workflow:
    return accepted(time_range=str(span(0, last)), collection=COLLECTION)


async def test_segments_cover_the_whole_range_without_a_gap() -> None:
    world = await a_world({COLLECTION: (0, 1, 4, 9)}, [], (0, 1, 2, 4, 9))
    proof = await prove(world.deps, a_workflow(), a_plan(span(0, 10), span(0, 10)), ask=True)
    segments = [
        ("stored", 0, 2, 2, COLLECTION),
        ("ours", 2, 3, 0, None),
        ("exchange", 3, 4, 0, None),
        ("stored", 4, 5, 1, COLLECTION),
        ("exchange", 5, 9, 0, None),
        ("stored", 9, 10, 1, COLLECTION),
    ]
    assert told(proof.segments) == segments
    assert (proof.expected, proof.stored) == (10, 4)
    assert told(await world.deps.coverage.of(SERIES)) == segments


async def test_holes_that_were_not_asked_for_are_unknown_and_teach_nothing() -> None:
    before = Segment(start_ms=minutes(1)[0], end_ms=minutes(2)[0], verdict=Verdict.EXCHANGE)
    world = await a_world({COLLECTION: (0, 2)}, [before], ())
    proof = await prove(world.deps, a_workflow(3), a_plan(span(0, 3), span(0, 3)), ask=False)
    assert [s.verdict.value for s in proof.segments] == ["stored", "unknown", "stored"]
    assert [s.verdict.value for s in await world.deps.coverage.of(SERIES)] == ["stored", "exchange", "stored"]
    assert exchange_of(world).asked == []


async def test_what_others_stored_is_counted_where_they_stored_it() -> None:
    """Of what was left out of the load, one record is gone from each of two collections; a verdict stays as it was."""
    known = [
        stored(0, 4, "a"),
        stored(4, 6, "b"),
        Segment(start_ms=minutes(6)[0], end_ms=minutes(8)[0], verdict=Verdict.EXCHANGE),
    ]
    world = await a_world({"a": (0, 2, 3), "b": (5,), COLLECTION: (8, 9)}, known, (0, 1, 2, 3, 5, 8, 9))
    proof = await prove(world.deps, a_workflow(), a_plan(span(0, 10), span(8, 10)), ask=True)
    segments = [
        ("stored", 0, 1, 1, "a"),
        ("ours", 1, 2, 0, None),
        ("stored", 2, 4, 2, "a"),
        ("exchange", 4, 5, 0, None),
        ("stored", 5, 6, 1, "b"),
        ("exchange", 6, 8, 0, None),
        ("stored", 8, 10, 2, COLLECTION),
    ]
    assert told(proof.segments) == segments
    assert told(await world.deps.coverage.of(SERIES)) == segments
    assert (proof.expected, proof.stored) == (10, 6)


async def test_what_is_gone_is_not_called_stored_by_a_workflow_that_was_stopped_either() -> None:
    world = await a_world({"a": (0, 2)}, [stored(0, 3, "a")], ())
    await prove(world.deps, a_workflow(), a_plan(span(0, 10), span(3, 10)), ask=False)
    assert told(await world.deps.coverage.of(SERIES)) == [
        ("stored", 0, 1, 1, "a"),
        ("ours", 1, 2, 0, None),
        ("stored", 2, 3, 1, "a"),
    ]


async def test_what_another_workflow_stored_meanwhile_fills_a_hole() -> None:
    world = await a_world({"a": range(10), COLLECTION: range(5)}, [stored(0, 10, "a")], range(10))
    proof = await prove(world.deps, a_workflow(), a_plan(span(0, 10), span(0, 10)), ask=True)
    assert told(proof.segments) == [("stored", 0, 5, 5, COLLECTION), ("stored", 5, 10, 5, "a")]
    assert len(world.store.documents["a"]) == 5, "what is there twice is removed"


async def test_of_a_range_that_begins_and_ends_in_a_bar_the_bars_that_open_in_it_are_proven() -> None:
    world = await a_world({COLLECTION: (1, 3)}, [], (1, 3))
    wanted = TimeRange(DAY_START + 1000, DAY_START + 4 * MINUTE_MS + 1000)
    workflow = replace(a_workflow(), span=wanted)
    proof = await prove(world.deps, workflow, a_plan(wanted, wanted), ask=True)
    assert (proof.expected, proof.stored) == (4, 2)
    assert (proof.segments[0].start_ms, proof.segments[-1].end_ms) == (
        DAY_START + MINUTE_MS,
        DAY_START + 5 * MINUTE_MS,
    )
    assert [s.start_ms for s in proof.segments[1:]] == [s.end_ms for s in proof.segments[:-1]]
    assert [(s.verdict.value, s.records) for s in proof.segments] == [
        ("stored", 1),
        ("exchange", 0),
        ("stored", 1),
        ("exchange", 0),
    ]


async def test_of_bars_of_three_days_too_those_are_counted_that_open_in_the_range() -> None:
    first, second, third = (parse_time_range(day).start_ms for day in ("2024-01-05", "2024-01-08", "2024-01-11"))
    workflow = accepted(type="api_candles_3d", time_range="2024-01-03:2024-01-10", collection=COLLECTION)
    plan = Plan(exchange_now_ms=NOW, parts=rest(workflow.requested), phase_ms=first)
    world = World()
    key = candle_key("BTCUSDT", "3d", first)
    world.store.documents[COLLECTION] = {key: Document(key, 1, b"{}")}
    found = await count(world.store, workflow, plan, SeriesCoverage(series=workflow.series), first)
    assert [(s.start_ms, s.end_ms, s.verdict.value) for s in found] == [
        (first, second, "stored"),
        (second, third, "unknown"),
    ]


async def test_what_is_not_answered_is_told_apart_from_a_store_that_fails() -> None:
    world = await a_world({}, [], ())
    exchange_of(world).failing = RetryableError("no answer")
    with pytest.raises(HoleUnanswered, match="no answer"):
        await prove(world.deps, a_workflow(), a_plan(span(0, 10), span(0, 10)), ask=True)
    world.store.failing = RetryableError("the store")
    with pytest.raises(RetryableError, match="the store"):
        await prove(world.deps, a_workflow(), a_plan(span(0, 10), span(0, 10)), ask=True)
