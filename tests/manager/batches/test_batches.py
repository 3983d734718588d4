"""One request for many symbols: what is made of it, how it goes on, ends, is stopped, retried and removed."""

from __future__ import annotations

from collections.abc import Sequence
from unittest.mock import AsyncMock

import pytest

from streamforge.manager.batches.model import BatchStatus, MemberStatus
from streamforge.manager.engine.document import Status
from streamforge.manager.engine.refusals import NotFound, NotNow
from streamforge.manager.policy import Policy
from streamforge.manager.use_cases import KeyReused, StartRequest
from streamforge.manager.workflows.series.model import SourceChoice
from streamforge_utils.model import names
from streamforge_utils.model.errors import InvalidInput, RetryableError
from streamforge_utils.model.kinds.candles import Candle, Interval
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.bus import TopicSpec
from streamforge_utils.ports.exchange import SymbolInfo
from tests.doubles.manualclock import ManualClock
from tests.doubles.scriptedexchange import ScriptedExchange
from tests.manager.batches.batch_world import (
    DAY,
    EXPECTED,
    TYPE,
    all_workflows,
    batch_world,
    begun,
    end,
    live,
    look,
    request,
    shown,
    statuses,
    symbols,
)
from tests.manager.execution.world import exchange_of, finish, store_bars
from tests.manager.support import DAY_MS, DAY_START, NOW, World, replace


async def test_members_are_made_as_room_allows_and_all_of_them_end() -> None:
    world = await batch_world(50)
    batch_id = await begun(world, "*USDT")
    found = await shown(world, batch_id)
    assert (found.batch.size, found.batch.delisted, found.batch.status) == (50, 16, BatchStatus.RUNNING)
    assert statuses(found) == {"waiting": 50}
    made: list[str] = []
    while (await shown(world, batch_id)).batch.status is BatchStatus.RUNNING:
        await look(world)
        going_on = live(world)
        assert len(going_on) <= Policy().batch_live
        made += [one.queue_id for one in going_on if one.queue_id not in made]
        await end(world, going_on[:7])
    found = await shown(world, batch_id)
    assert found.batch.status is BatchStatus.FINISHED
    assert (found.batch.totals.expected, found.batch.totals.stored) == (50 * EXPECTED, 50 * EXPECTED)
    workflows = await all_workflows(world)
    assert sorted(one.symbol for one in workflows) == list(symbols(50))
    assert [member.queue_id for member in found.members] == made, "in the order in which they were asked for"
    page = await world.manager.find(batch=batch_id, limit=100)
    assert {one.queue_id for one in page.workflows} == set(made)


async def test_a_batch_has_topics_of_as_many_workflows_as_run_and_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await batch_world(60, Policy(max_running=5))
    make, there = world.bus.create_topic, list[int]()

    async def counted(spec: TopicSpec) -> None:
        await make(spec)
        there.append(sum(topic.startswith("wf-") for topic in world.bus.log))

    monkeypatch.setattr(world.bus, "create_topic", counted)
    batch_id = await begun(world, *symbols(60), "S001USDT")
    assert (await shown(world, batch_id)).batch.duplicated == ("S001USDT",)
    for _ in range(600):
        await world.turns(2)
        for workflow in live(world):
            if all(step.attempt is not None and step.attempt.ended_ms is None for step in workflow.steps):
                store_bars(world, workflow)
                for document in list(world.store.documents.pop(workflow.collection).values()):
                    key = document.key.replace("BTCUSDT", workflow.symbol)
                    world.store.documents.setdefault(workflow.collection, {})[key] = replace(document, key=key)
                finish(world, workflow)
        if (await shown(world, batch_id)).batch.ended:
            break
    found = await shown(world, batch_id)
    assert statuses(found) == {"finished": 60}, [one.failure for one in await all_workflows(world)]
    assert found.batch.totals.stored == 60 * EXPECTED
    assert max(there) == 2 * 5, "of records and of dead letters"
    assert len(there) >= 2 * 60
    await world.turns(2)
    assert not [topic for topic in await world.bus.topics() if topic.startswith("wf-")]
    assert all(one.topic_removed and one.dlq_removed for one in await all_workflows(world))
    await world.die()


async def test_a_workflow_that_loads_the_same_is_joined_and_not_stopped_with_the_batch() -> None:
    world = await batch_world(3)
    other = (await world.manager.start(StartRequest(symbol="S001USDT", type=TYPE, time_range=DAY))).workflow
    batch_id = await begun(world, *symbols(3))
    await look(world)
    found = await shown(world, batch_id)
    assert [member.joined for member in found.members] == [False, True, False]
    assert found.members[1].queue_id == other.queue_id
    assert len(live(world)) == 3
    await world.manager.batches.stop(batch_id)
    await look(world)
    assert (await world.manager.get(other.queue_id)).stop_asked_ms is None
    stopping = [one for one in live(world) if one.stop_asked_ms is not None]
    assert [one.symbol for one in stopping] == ["S000USDT", "S002USDT"]
    await end(world, stopping, Status.INTERRUPTED, stored=7)
    await look(world)
    found = await shown(world, batch_id)
    assert (found.batch.status, statuses(found)) == (BatchStatus.INTERRUPTED, {"interrupted": 3})
    assert other.queue_id in found.members[1].reason
    assert found.batch.totals.stored == 14


async def test_a_workflow_that_loads_a_little_less_is_not_joined() -> None:
    world = await batch_world(1)
    words = "2024-07-01:"
    other = (await world.manager.start(StartRequest(symbol="S000USDT", type=TYPE, time_range=words))).workflow
    later_ms = 3_600_000
    world.later(later_ms // 1000)
    batch_id = await begun(world, "S000USDT", time_range=words)
    await look(world)
    (member,) = (await shown(world, batch_id)).members
    assert (member.joined, member.queue_id == other.queue_id) == (False, False)
    own = await world.manager.get(member.queue_id)
    assert own.span.end_ms == other.span.end_ms + later_ms
    beside = await begun(world, "S000USDT", time_range=words)
    await look(world)
    (member,) = (await shown(world, beside)).members
    assert (member.joined, member.queue_id) == (True, own.queue_id), "the first one that loads all of it"


async def test_a_stopped_batch_makes_no_more_and_a_retry_makes_what_is_lacking() -> None:
    world = await batch_world(30)
    batch_id = await begun(world, "*USDT")
    await look(world)
    await end(world, live(world)[:4])
    await end(world, live(world)[:1], Status.ERROR)
    assert (await world.manager.batches.stop(batch_id)).batch.status is BatchStatus.STOPPING
    with pytest.raises(NotNow, match="is stopping"):
        await world.manager.batches.retry(batch_id)
    await look(world)
    await end(world, live(world), Status.INTERRUPTED)
    await look(world)
    found = await shown(world, batch_id)
    assert (found.batch.status, statuses(found)) == (BatchStatus.ERROR, {"finished": 4, "error": 1, "interrupted": 25})
    assert found.members[4].reason == "the store is full"
    assert found.members[29].reason == "the batch was stopped before its workflow was made"
    assert len(await all_workflows(world)) == 20
    finished = {member.queue_id for member in found.members[:4]}
    await world.manager.batches.retry(batch_id)
    for _ in range(3):
        await look(world)
        assert not finished & {one.queue_id for one in live(world)}, "what is proven is left alone"
        await end(world, live(world))
    await look(world)
    found = await shown(world, batch_id)
    assert (found.batch.status, statuses(found)) == (BatchStatus.FINISHED, {"finished": 30})
    assert len(await all_workflows(world)) == 30, "a workflow that was made is retried, not made again"
    with pytest.raises(NotNow, match="none of its members failed"):
        await world.manager.batches.retry(batch_id)
    with pytest.raises(NotNow, match="has ended"):
        await world.manager.batches.stop(batch_id)


async def test_a_batch_goes_on_again_with_one_of_its_workflows() -> None:
    world = await batch_world(2)
    batch_id = await begun(world, *symbols(2))
    await look(world)
    await end(world, live(world)[:1])
    await end(world, live(world), Status.ERROR)
    await look(world)
    failed = (await shown(world, batch_id)).members[1]
    assert (await shown(world, batch_id)).batch.status is BatchStatus.ERROR
    await world.manager.retry(failed.queue_id)
    await world.start()  # a new manager finds it by the workflow alone
    await look(world)
    assert statuses(await shown(world, batch_id)) == {"finished": 1, "live": 1}
    await end(world, live(world))
    await look(world)
    assert (await shown(world, batch_id)).batch.status is BatchStatus.FINISHED


async def test_a_damaged_batch_whose_workflow_goes_on_again_holds_up_no_other_one() -> None:
    world = await batch_world(3)
    damaged = await begun(world, "S000USDT")
    await look(world)
    (failed,) = live(world)
    await end(world, [failed], Status.ERROR)
    await look(world)
    world.store.damage("batch", damaged, b"{")
    other = await begun(world, "S001USDT", "S002USDT")
    await world.manager.retry(failed.queue_id)
    await look(world)
    assert statuses(await shown(world, other)) == {"live": 2}


async def test_what_cannot_be_made_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await batch_world(3)
    named = names.collection_name

    def too_long(symbol: str, type_name: str, start_ms: int) -> str:
        if symbol == "S001USDT":
            raise InvalidInput("collection_name", "the name of its collection is too long")
        return named(symbol, type_name, start_ms)

    monkeypatch.setattr(names, "collection_name", too_long)
    batch_id = await begun(world, *symbols(3))
    await look(world)
    await end(world, live(world))
    await look(world)
    found = await shown(world, batch_id)
    assert [member.status.value for member in found.members] == ["finished", "error", "finished"]
    assert (found.members[1].queue_id, found.members[1].reason) == ("", "the name of its collection is too long")


async def test_members_with_nothing_to_load_are_closed_and_removed_workflows_are_made_anew_by_a_retry() -> None:
    world = await batch_world(3)
    batch_id = await begun(world, *symbols(3))
    await look(world)
    await end(world, live(world)[:1], stored=0)
    gone = live(world)[0]
    await end(world, live(world)[:1])
    await world.manager.remove(gone.queue_id)
    await end(world, live(world))
    await look(world)
    found = await shown(world, batch_id)
    assert [member.status.value for member in found.members] == ["closed", "removed", "finished"]
    assert found.batch.status is BatchStatus.INTERRUPTED
    assert (await world.manager.batches.members(batch_id, statuses=[MemberStatus.CLOSED])).members == [found.members[0]]
    await world.manager.batches.retry(batch_id)
    await look(world)
    (anew,) = live(world)
    assert (anew.symbol, anew.queue_id != gone.queue_id) == (gone.symbol, True), "the code of the old one stays taken"
    await end(world, [anew])
    await look(world)
    found = await shown(world, batch_id)
    assert [member.status.value for member in found.members] == ["closed", "finished", "finished"]
    assert (found.members[1].reason, found.batch.status) == ("", BatchStatus.FINISHED)


class Listings(ScriptedExchange):
    """Days of symbols that were listed at different times."""

    days: dict[str, range]

    async def candles(
        self, symbol: str, interval: Interval, span: TimeRange, *, limit: int = 1000, newest: bool = False
    ) -> Sequence[Candle]:
        self.opens = list(self.days[symbol])
        return await super().candles(symbol, interval, span, limit=limit, newest=newest)


async def test_only_what_existed_on_the_day_is_loaded_also_what_is_delisted_since() -> None:
    exchange = Listings(Interval.D1, (), now_ms=NOW)
    exchange.days = {
        "OLDUSDT": range(DAY_START - 30 * DAY_MS, NOW, DAY_MS),
        "GONEUSDT": range(DAY_START - 30 * DAY_MS, DAY_START - 5 * DAY_MS, DAY_MS),
        "LATEUSDT": range(DAY_START, NOW, DAY_MS),
        "EARLYUSDT": range(DAY_START - 30 * DAY_MS, DAY_START - 20 * DAY_MS, DAY_MS),
    }
    statuses_then = {"GONEUSDT": "BREAK", "EARLYUSDT": "BREAK"}
    exchange.listed = [SymbolInfo(symbol=one, status=statuses_then.get(one, "TRADING")) for one in exchange.days]
    exchange.symbol_info = AsyncMock(  # type: ignore[method-assign]
        side_effect=lambda symbol: next(one for one in exchange.listed if one.symbol == symbol)
    )
    world = World(clock=ManualClock(NOW), exchange=exchange)
    await world.start()
    batch_id = await begun(world, "*USDT", type="api_candles_1d", time_range="2024-07", listed_at="2024-07-20")
    await look(world)
    assert sorted(one.symbol for one in live(world)) == ["GONEUSDT", "OLDUSDT"]
    closed = (await world.manager.batches.members(batch_id, statuses=[MemberStatus.CLOSED])).members
    assert {one.symbol: one.reason for one in closed} == {
        "LATEUSDT": "it was not listed on 2024-07-20",
        "EARLYUSDT": "it was not listed on 2024-07-20",
    }


async def test_a_symbol_whose_listing_cannot_be_asked_holds_up_no_other_and_is_refused_in_the_end() -> None:
    asked: list[str] = []

    class Silent(Listings):
        async def symbol_info(self, symbol: str) -> SymbolInfo:
            asked.append(symbol)
            if symbol == "ANUSDT":
                raise RetryableError("no answer")
            return SymbolInfo(symbol=symbol, status="TRADING")

    exchange = Silent(Interval.D1, (), now_ms=NOW)
    exchange.days = dict.fromkeys(("ANUSDT", "BNUSDT"), range(DAY_START - 30 * DAY_MS, NOW, DAY_MS))
    exchange.listed = [SymbolInfo(symbol=one, status="TRADING") for one in exchange.days]
    world = World(clock=ManualClock(NOW), exchange=exchange, policy=Policy(max_asking_failures=2))
    await world.start()
    batch_id = await begun(world, "*USDT", type="api_candles_1d", time_range="2024-07", listed_at="2024-07-20")
    await look(world, 3)
    assert [one.symbol for one in live(world)] == ["BNUSDT"]
    assert asked.count("ANUSDT") == 1, "it is asked again after a while"
    assert (await shown(world, batch_id)).trouble == "ANUSDT: no answer"
    world.later(Policy().backoff_cap_s * 2)
    await look(world)
    refused = (await shown(world, batch_id)).members[0]
    assert (refused.status, asked.count("ANUSDT")) == (MemberStatus.ERROR, 2)
    assert refused.reason == "the exchange did not answer 2 times in a row: no answer"


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"source": SourceChoice.ARCHIVE}, "source", "archive"),
        ({"symbols": ("S000USDT", "NOSUCH")}, "symbols", "1 of 2 is not a symbol of the exchange"),
        ({"symbols": ("*EUR",)}, "symbols", "no symbol of the exchange fits"),
        ({"symbols": ()}, "symbols", "is empty"),
        ({"type": "api_candles_7m"}, "type", "7m"),
        ({"time_range": "2030"}, "time_range", "future"),
        ({"since": "last"}, "since", "two ranges"),
        ({"listed_at": "2021"}, "listed_at", "is no day"),
        ({"listed_at": "2021-02-30"}, "listed_at", "no day of the calendar"),
        ({"listed_at": "2030-01-01"}, "listed_at", "future"),
    ],
)
async def test_what_cannot_be_a_batch_is_refused_before_anything_is_made(
    fields: dict[str, object], field: str, said: str
) -> None:
    world = await batch_world(3)
    with pytest.raises(InvalidInput) as refused:
        await world.manager.batches.start(request("S000USDT", **fields))
    assert (refused.value.field, said in str(refused.value)) == (field, True), str(refused.value)
    assert not world.store.states


async def test_an_exchange_that_does_not_list_its_symbols_refuses_for_now() -> None:
    world = await batch_world(3)
    exchange_of(world).failing = RetryableError("no route")
    with pytest.raises(RetryableError):
        await begun(world, "*USDT")
    assert not world.store.states


async def test_the_same_key_gives_the_same_batch_until_it_is_removed() -> None:
    world = await batch_world(4)
    one = await world.manager.batches.start(request("*USDT"), idempotency_key="k")
    exchange_of(world).listed = exchange_of(world).listed[:1]
    again = await world.manager.batches.start(request("*USDT"), idempotency_key="k")
    assert (one.replayed, again.replayed) == (False, True)
    assert again.view.batch.batch_id == one.view.batch.batch_id
    with pytest.raises(KeyReused):
        await world.manager.batches.start(request("S*"), idempotency_key="k")
    batch_id = one.view.batch.batch_id
    with pytest.raises(NotNow, match="stop it before"):
        await world.manager.batches.remove(batch_id)
    await look(world)
    await end(world, live(world))
    await look(world)
    await world.manager.batches.remove(batch_id)
    with pytest.raises(NotFound):
        await shown(world, batch_id)
    assert len(await all_workflows(world)) == 4, "its workflows stay"
    assert not [kind for kind, _ in world.store.states if kind.startswith("batch")]
    other = await world.manager.batches.start(request("*USDT"), idempotency_key="k")
    assert other.view.batch.size == 1


async def test_a_full_manager_lets_a_batch_wait_and_says_why() -> None:
    world = await batch_world(3, Policy(max_live=2))
    batch_id = await begun(world, *symbols(3))
    await look(world)
    assert len(live(world)) == 2
    assert "2 workflows are waiting or running" in (await shown(world, batch_id)).trouble
    await end(world, live(world)[:1])
    await look(world)
    found = await shown(world, batch_id)
    assert (statuses(found), found.trouble) == ({"finished": 1, "live": 2}, "")


async def test_lists_have_the_newest_batch_first_and_end() -> None:
    world = await batch_world(2)
    made = []
    for _ in range(3):
        made.append(await begun(world, *symbols(2)))
        world.later(1)
    page, cursor = await world.manager.batches.find(limit=2)
    assert [view.batch.batch_id for view in page] == made[:0:-1]
    rest, end_ = await world.manager.batches.find(cursor=cursor, limit=2)
    assert ([view.batch.batch_id for view in rest], end_) == (made[:1], None)
    with pytest.raises(InvalidInput, match="is not one of this server"):
        await world.manager.batches.find(cursor="batch-x-20240801-abcdef")
