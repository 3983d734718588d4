"""The feed of changes: what a reader gets, and where it goes on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from streamforge.manager import presentation
from streamforge.manager.api.app import create_app
from streamforge.manager.engine.document import Status
from streamforge.manager.feed import service as feeds
from streamforge.manager.feed.service import Feed, FeedReader
from streamforge.manager.persistence import change_notes
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.ports.exchange import SymbolInfo
from tests.manager.api.support import UNKNOWN, client_of, problem, running, started
from tests.manager.batches.batch_world import look
from tests.manager.memory_service import MemoryService
from tests.manager.schedules.test_routes import added

Told = tuple[str, str | None, Any]
"""An event: its name, its id and its data."""


def parsed(text: bytes) -> list[Told]:
    """The events of a part of a stream, comments and the pause before coming back left out."""
    found: list[Told] = []
    for block in text.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith((":", "retry")))
        if "event" in lines:
            found.append((lines["event"], lines.get("id"), msgspec.json.decode(lines["data"])))
    return found


class Client:
    """A reader of a feed that is made when the test says so."""

    def __init__(self, feed: Feed, since: str | None = None, **wanted: Any) -> None:
        self.closing = asyncio.Event()
        start = feed.position(since)
        assert start is not None
        self.reader = FeedReader(start[0], **wanted)
        self.stream = feed.stream(self.reader, resumed=start[1], keep_alive_s=0, closing=self.closing)
        self.last = since

    async def told(self) -> list[Told]:
        """All that there is for it by now."""
        found: list[Told] = []
        async for text in self.stream:
            if text.startswith(b":"):
                break
            found += parsed(text)
        self.last = next((number for _, number, _ in reversed(found) if number is not None), self.last)
        return found


def short(told: list[Told]) -> list[tuple[str, str]]:
    """The names of events and the status, reason or id that each tells."""
    return [(name, data.get("status") or data.get("reason") or str(data.get("resumed"))) for name, _, data in told]


@pytest.fixture
def feed(service: MemoryService) -> Feed:
    return Feed(service, service.clock, run="0000beef", stall_s=5.0)


async def test_what_changes_comes_as_the_list_shows_it_and_of_each_only_the_latest(
    client: httpx.AsyncClient, service: MemoryService, feed: Feed
) -> None:
    reading = Client(feed)
    assert await reading.told() == [("open", "0000beef-0", {"resumed": False})]
    first, second = await started(service), await started(service, symbol="ETHUSDT")
    for stored in (10, 20, 30):
        await service.put(running(first, stored=stored))
    await feed.make()

    told = await reading.told()

    assert [(name, number, data["queue_id"]) for name, number, data in told] == [
        ("workflow", "0000beef-1", second.queue_id),
        ("workflow", "0000beef-2", first.queue_id),
    ]
    listed = (await client.get("/queues")).json()["queues"]
    assert [data for _, _, data in told] == listed
    assert told[1][2]["progress"]["records_stored"] == 30
    await feed.make()
    assert await reading.told() == [], "nothing has changed since"


async def test_progress_that_is_only_noted_comes_too(service: MemoryService, feed: Feed) -> None:
    workflow = await started(service)
    reading = Client(feed)
    await feed.make()
    await reading.told()
    workflows = service.world.deps.workflows
    workflows.note(workflows.live[workflow.queue_id], running(workflow, stored=77))
    await feed.make()
    ((_, _, data),) = await reading.told()
    assert data["progress"]["records_stored"] == 77


async def test_a_schedule_comes_as_the_list_shows_it_and_its_end_too(
    client: httpx.AsyncClient, service: MemoryService, feed: Feed
) -> None:
    workflow = await started(service)
    of_one, of_all = Client(feed, queue_ids=[workflow.queue_id]), Client(feed, statuses=["error"])
    await added(client)
    await feed.make()
    *before, (name, _, data) = await of_all.told()
    assert [*short(before), name] == [("open", "False"), ("removed", "filtered"), "schedule"]
    assert data == (await client.get("/schedules")).json()["schedules"][0]
    (await client.patch("/schedules/nightly", json={"paused": True})).raise_for_status()
    await feed.make()
    assert [(name, data["paused"]) for name, _, data in await of_all.told()] == [("schedule", True)]
    (await client.delete("/schedules/nightly")).raise_for_status()
    await feed.make()
    gone = {"kind": "schedule", "id": "nightly", "reason": "deleted"}
    assert [(name, data) for name, _, data in await of_all.told()] == [("removed", gone)]
    assert [name for name, _, _ in await of_one.told()] == ["open", "workflow"]


async def test_a_reader_that_comes_back_gets_what_it_missed_once(service: MemoryService, feed: Feed) -> None:
    first, second, third = [await started(service, symbol=one) for one in ("BTCUSDT", "ETHUSDT", "BNBUSDT")]
    reading = Client(feed)
    await feed.make()
    assert len(await reading.told()) == 4
    await service.put(running(first))
    await feed.make()
    await service.end(first.queue_id)
    await service.end(third.queue_id, Status.ERROR)
    await feed.make()

    back = Client(feed, since=reading.last)

    assert short(await back.told()) == [("open", "True"), ("workflow", "finished"), ("workflow", "error")]
    assert short(await reading.told()) == [("workflow", "finished"), ("workflow", "error")]
    assert back.last == reading.last == "0000beef-6"
    assert second.queue_id not in str(await back.told())


async def test_after_a_start_of_the_manager_or_a_gap_all_is_to_be_read_again(
    service: MemoryService, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "MOST_EVENTS", 2)
    reading, far_behind = Client(feed), Client(feed)
    assert short(await far_behind.told()) == [("open", "False")]
    for symbol in ("BTCUSDT", "ETHUSDT", "BNBUSDT"):
        await started(service, symbol=symbol)
    await feed.make()
    assert short(await reading.told()) == [
        ("open", "False"),
        ("reset", "what changed in between is not kept any more: read all again"),
    ]
    assert (await far_behind.told())[0][:2] == ("reset", "0000beef-3")
    await started(service, symbol="SOLUSDT")
    await feed.make()
    assert short(await reading.told()) == short(await far_behind.told()) == [("workflow", "pending")]

    again = Feed(service, service.clock, run="00c0ffee")
    back = Client(again, since=reading.last)
    assert [(name, number) for name, number, _ in await back.told()] == [
        ("open", None),
        ("reset", "00c0ffee-0"),
    ]
    await started(service, symbol="XRPUSDT")
    await again.make()
    assert short(await back.told()) == [("workflow", "pending")]


async def test_more_changes_than_are_noted_are_a_gap(
    service: MemoryService, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_notes, "MOST_CHANGED", 2)
    reading = Client(feed)
    await reading.told()
    for symbol in ("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT"):
        await started(service, symbol=symbol)
    await feed.make()
    assert [name for name, _, _ in await reading.told()] == ["reset"]


async def test_a_status_that_is_not_wanted_any_more_is_told_once(service: MemoryService, feed: Feed) -> None:
    workflow, other = await started(service), await started(service, symbol="ETHUSDT")
    await feed.make()
    reading = Client(feed, statuses=("running",))
    await reading.told()
    await service.put(running(workflow))
    await service.put(running(other))
    await feed.make()
    assert short(await reading.told()) == [("workflow", "running")] * 2
    await service.end(workflow.queue_id)
    await feed.make()
    ((name, _, data),) = await reading.told()
    assert (name, data) == ("removed", {"kind": "workflow", "id": workflow.queue_id, "reason": "filtered"})
    await service.put(msgspec.structs.replace(await service.get(workflow.queue_id), repairs=1))
    await feed.make()
    assert await reading.told() == []
    await service.remove(workflow.queue_id)
    await feed.make()
    assert await reading.told() == [], "it is not shown"

    late = Client(feed, since="0000beef-3", statuses=("running",))
    assert short(await late.told()) == [("open", "True"), ("workflow", "running"), ("removed", "deleted")]


async def test_chosen_workflows_alone_and_what_is_deleted(service: MemoryService, feed: Feed) -> None:
    workflow, other = await started(service), await started(service, symbol="ETHUSDT")
    chosen, every = Client(feed, queue_ids=(workflow.queue_id,)), Client(feed)
    await feed.make()
    assert [data.get("queue_id") for _, _, data in (await chosen.told())[1:]] == [workflow.queue_id]
    assert len(await every.told()) == 3
    for one in (workflow, other):
        await service.end(one.queue_id)
        await service.remove(one.queue_id)
    await feed.make()
    assert short(await chosen.told()) == [("removed", "deleted")]
    assert [data["id"] for _, _, data in await every.told()] == [workflow.queue_id, other.queue_id]


async def test_a_batch_comes_with_its_workflows_and_goes(
    client: httpx.AsyncClient, service: MemoryService, feed: Feed
) -> None:
    service.exchange.listed = [SymbolInfo(symbol=one, status="TRADING") for one in ("BTCUSDT", "ETHUSDT")]
    body = {"symbols": ["BTCUSDT", "ETHUSDT"], "type": "api_candles_1m", "time_range": "2024-08-01"}
    batch_id = (await client.post("/batches", json=body)).json()["batch_id"]
    reading = Client(feed)
    await look(service.world)
    await feed.make()
    told = (await reading.told())[1:]
    assert sorted(name for name, _, _ in told) == ["batch", "workflow", "workflow"]
    assert (
        next(data for name, _, data in told if name == "batch") == (await client.get("/batches")).json()["batches"][0]
    )
    for queue_id in await service.ids():
        await service.end(queue_id)
    await look(service.world)
    await client.delete(f"/batches/{batch_id}")
    await feed.make()
    assert ("removed", "deleted") in short(await reading.told())


async def test_a_store_that_does_not_answer_loses_no_change(service: MemoryService, feed: Feed) -> None:
    workflow = await started(service)
    await service.end(workflow.queue_id)
    reading = Client(feed)
    service.world.store.failing = RetryableError("no store")
    with pytest.raises(RetryableError):
        await feed.make()
    assert short(await reading.told()) == [("open", "False")]
    service.world.store.failing = None
    await feed.make()
    assert short(await reading.told()) == [("workflow", "finished")]


async def test_a_document_that_cannot_be_shown_holds_up_no_other_one(
    service: MemoryService, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, other = await started(service), await started(service, symbol="ETHUSDT")
    whole = presentation.workflow_summary

    def summary(found: Any, *rest: Any, **more: Any) -> Any:
        if found.queue_id == broken.queue_id:
            raise AssertionError("a bug")
        return whole(found, *rest, **more)

    monkeypatch.setattr(presentation, "workflow_summary", summary)
    reading = Client(feed)
    await feed.make()
    told = [
        (name, data.get("queue_id") or data["id"], data.get("reason")) for name, _, data in (await reading.told())[1:]
    ]
    assert told == [("removed", broken.queue_id, "unreadable"), ("workflow", other.queue_id, None)]


async def test_a_slow_reader_is_ended_with_the_reason(service: MemoryService, feed: Feed) -> None:
    await started(service)
    reading, other = Client(feed), Client(feed)
    await feed.make()
    parts = aiter(reading.stream)
    assert parsed(await anext(parts))[0][0] == "open"
    assert parsed(await anext(parts))[0][0] == "workflow"
    service.clock.advance(5.1)
    ((name, _, data),) = parsed(await anext(parts))
    assert (name, data["reason"]) == ("end", "slow")
    assert "5 s" in data["detail"]
    with pytest.raises(StopAsyncIteration):
        await anext(parts)
    assert short(await other.told()) == [("open", "False"), ("workflow", "pending")]


async def test_the_latest_stream_of_a_client_stays_and_others_are_left_alone(
    service: MemoryService, feed: Feed
) -> None:
    first, second, elsewhere = Client(feed), Client(feed), Client(feed)
    async with entered(feed, first, ("alice", "tab")), entered(feed, elsewhere, ("bob", "tab")):
        await first.told()
        await elsewhere.told()
        async with entered(feed, second, ("alice", "tab")):
            assert short(await first.told()) == [("end", "replaced")]
            assert short(await second.told())[0] == ("open", "False")
        assert await elsewhere.told() == []
        feed.leave(first.reader)
        third = Client(feed)
        async with entered(feed, third, ("alice", "tab")):
            assert second.reader.ended is None


async def test_the_end_of_the_server_is_told(service: MemoryService, feed: Feed) -> None:
    reading = Client(feed)
    await reading.told()
    reading.closing.set()
    for _ in range(3):
        await asyncio.sleep(0)
    assert short(await reading.told()) == [("end", "closing")]


@pytest.mark.parametrize("last", ["7", "0000beef", "0000beef-x", "0000BEEF-1", "-1", "0000beef-" + "9" * 16])
async def test_what_is_no_id_of_an_event_is_refused(client: httpx.AsyncClient, last: str) -> None:
    assert (
        problem(await client.get("/feed", headers={"Last-Event-ID": last}), 422, "invalid-input")["errors"][0]["field"]
        == "Last-Event-ID"
    )
    assert (
        problem(await client.get("/feed", params={"since": last}), 422, "invalid-input")["errors"][0]["field"]
        == "since"
    )


async def test_a_client_whose_name_cannot_be_one_and_a_status_that_is_none_are_refused(
    client: httpx.AsyncClient,
) -> None:
    problem(await client.get("/feed?client=a%20b"), 422, "invalid-input")
    problem(await client.get("/feed?status=done"), 422, "invalid-input")


async def test_streams_beyond_the_limit_and_those_of_a_manager_that_drives_nothing_are_refused(
    service: MemoryService, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(service)
    context = app.state.context
    async with client_of(app) as client:
        for _ in range(context.limits.followers):
            context.followers.enter()
        problem(await client.get("/feed"), 503, "busy")
        assert context.feed._pump is None
        monkeypatch.setattr(type(service.feed), "elsewhere", True)
        problem(await client.get(f"/feed?queue_id={UNKNOWN}"), 409, "not-now")


@contextlib.asynccontextmanager
async def entered(feed: Feed, client: Client, name: tuple[str, str]) -> AsyncIterator[None]:
    feed.enter(client.reader, name)
    try:
        yield
    finally:
        feed.leave(client.reader)
