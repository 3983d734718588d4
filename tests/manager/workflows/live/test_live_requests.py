"""Requests for live workflows: their ranges, what serves the same, what is refused; and batches of them."""

from __future__ import annotations

import msgspec
import pytest

from streamforge.manager.batches.requests import BatchRequest, check_batch
from streamforge.manager.continuation import LIVE
from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.stored_document import decode_workflow, encode_workflow
from streamforge.manager.use_cases import StartRequest, StepRequest
from streamforge.manager.workflows.live.model import is_live
from streamforge.manager.workflows.series.requests import check, is_the_same, workflow_of
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import InvalidInput
from tests.manager.live_world import SERIES, live_world, minutes
from tests.manager.support import DAY_START, NOW, World, replace

TYPE = "ws_candles_1m"


def request(**fields: str) -> StartRequest:
    return StartRequest(symbol="BTCUSDT", type=TYPE, **fields)  # type: ignore[arg-type]


def made(asked: StartRequest, now_ms: int = NOW) -> Workflow:
    return workflow_of(check(asked, now_ms), code="abc123", now_ms=now_ms, exchange_now_ms=now_ms)


def test_without_a_range_it_begins_now_and_has_no_end() -> None:
    for asked in (request(), request(time_range=LIVE), request(since="now")):
        workflow = made(asked)
        assert (workflow.requested, workflow.endless, is_live(workflow)) == (LIVE, True, True)
        assert (workflow.span.start_ms, workflow.span.end_ms) == (NOW - 1000, NOW)
        assert [step.target for step in workflow.steps] == ["arango-candles", "loader-ws-candles"]


def test_its_records_lie_in_a_collection_of_each_day_unless_the_request_names_one() -> None:
    live = made(request())
    assert (live.daily, live.collection) == (True, "btcusdt_ws_candles_1m")
    named = made(request(collection="mine"))
    assert (named.daily, named.collection) == (False, "mine")
    book = made(StartRequest(symbol="BTCUSDT", type="ws_orderbook"))
    assert (book.daily, book.collection) == (True, "btcusdt_ws_orderbook")
    a_record_a_day = made(StartRequest(symbol="BTCUSDT", type="ws_candles_1d"))
    assert (a_record_a_day.daily, a_record_a_day.collection) == (False, "btcusdt_ws_candles_1d_2024_08_10")
    history = made(StartRequest(symbol="BTCUSDT", type="api_candles_1m", time_range="2024-08-01"))
    assert (history.daily, history.collection) == (False, "btcusdt_api_candles_1m_2024_08_01")


def test_a_workflow_of_an_older_version_goes_on_in_its_one_collection() -> None:
    document = msgspec.json.decode(encode_workflow(made(request(collection="one"))))
    del document["daily"]
    older = decode_workflow(msgspec.json.encode(document))
    assert older.placement.at(NOW) == "one"


@pytest.mark.parametrize("asked", [{"since": "2024-08-01"}, {"time_range": "2024-08-01:"}])
def test_since_and_a_range_without_an_end_are_the_same(asked: dict[str, str]) -> None:
    workflow = made(request(**asked))
    assert (workflow.requested, workflow.span.start_ms) == ("2024-08-01:", DAY_START)


@pytest.mark.parametrize("text", ["2024-08-01", "2024-08-01:2024-08-02", "2024-08"])
def test_a_range_with_an_end_is_refused_with_the_type_that_loads_it(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"goes on until it is stopped.*api_candles_1m loads a range that is past"):
        check(request(time_range=text), NOW)


def test_one_that_runs_serves_all_that_would_begin_later() -> None:
    live, later = made(request()), made(request(), NOW + 60_000)
    assert is_the_same(live, later, NOW)
    assert not is_the_same(later, live, NOW)
    assert not is_the_same(live, made(request(since="2024-08-01")), NOW)
    assert not is_the_same(replace(live, stop_asked_ms=NOW), later, NOW)


async def test_a_series_is_live_once(world: World) -> None:
    first = await world.manager.start(request())
    assert isinstance(first.workflow, Workflow)
    again = await world.manager.start(request())
    assert (again.workflow.queue_id, again.joined, again.behind_ms) == (first.workflow.queue_id, True, 0)
    with pytest.raises(InvalidInput, match=f"{first.workflow.queue_id} .* live already: stop it first") as refused:
        await world.manager.start(request(since="2024-08-01"))
    assert refused.value.field == "since"


@pytest.mark.parametrize(("known", "first"), [(True, 90), (False, 50)])
async def test_since_last_goes_on_from_the_coverage_or_from_the_start_that_is_named(known: bool, first: int) -> None:
    world = await live_world()
    if known:
        there = Segment(start_ms=minutes(0)[0], end_ms=minutes(90)[0], verdict=Verdict.STORED, collection="c")
        await world.deps.coverage.lay_over(SERIES, [there])
    found = await world.manager.start(request(since="last", default_start="2024-08-01T00:50Z"))
    assert [found.workflow.span.start_ms] == minutes(first)


def test_many_symbols_may_be_live() -> None:
    checked, _ = check_batch(BatchRequest(symbols=("BTCUSDT", "ETHUSDT"), type=TYPE), NOW, archive=False)
    assert checked.requested == LIVE


async def test_to_load_again_or_to_tell_what_it_takes_has_no_meaning(world: World) -> None:
    with pytest.raises(InvalidInput, match="load a past range") as refused:
        check(StartRequest(symbol="BTCUSDT", type=TYPE, again=True), NOW)
    assert refused.value.field == "again"
    with pytest.raises(InvalidInput, match="has no end"):
        await world.manager.forecaster.of(request())
    with pytest.raises(InvalidInput, match="has no end"):
        await world.manager.batch_forecaster.of(BatchRequest(symbols=("BTCUSDT", "ETHUSDT"), type=TYPE))


@pytest.mark.parametrize("past", [{"since": "2024-08-01"}, {"since": "last"}, {"time_range": "2024-08-01:"}])
def test_an_order_book_begins_now_as_nothing_of_it_can_be_had_that_is_past(past: dict[str, str]) -> None:
    asked = StartRequest(symbol="BTCUSDT", type="ws_depth")
    workflow = made(asked)
    assert (workflow.type, workflow.requested, workflow.endless) == ("ws_orderbook", LIVE, True)
    assert [step.target for step in workflow.steps] == ["arango-orderbook", "loader-ws-orderbook"]
    with pytest.raises(InvalidInput, match=r"ws_orderbook begins now: .* nothing of it that is past") as refused:
        check(StartRequest(symbol="BTCUSDT", type="ws_orderbook", **past), NOW)  # type: ignore[arg-type]
    assert refused.value.field == next(iter(past))
    with pytest.raises(InvalidInput, match="begins now"):
        check_batch(BatchRequest(symbols=("A", "B"), type="ws_orderbook", **past), NOW, archive=False)  # type: ignore[arg-type]


async def test_an_order_book_that_is_recorded_already_is_not_loaded_as_history(world: World) -> None:
    first = await world.manager.start(StartRequest(symbol="BTCUSDT", type="ws_orderbook"))
    other = StartRequest(
        symbol="BTCUSDT",
        type="ws_orderbook",
        collection="other",
        steps=(
            StepRequest(target="arango-orderbook", parameters={"store_diffs": True}),
            StepRequest(target="loader-ws-orderbook"),
        ),
    )
    with pytest.raises(InvalidInput, match=f"{first.workflow.queue_id} .* live already: stop it first$"):
        await world.manager.start(other)
