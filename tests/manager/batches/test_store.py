"""Batches in the store while they are made, found and removed at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from streamforge.manager.batches.model import BatchStatus, MemberStatus
from streamforge.manager.batches.store import KIND, MEMBERS_KIND, BatchStore
from streamforge_utils.model.errors import ConfigError
from streamforge_utils.ports.store import State
from tests.manager.batches.batch_world import batch_world, begun, look, shown, statuses


async def test_a_batch_that_is_being_made_outlives_the_first_look(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await batch_world(3)
    put = world.store.put

    async def put_beside_a_look(kind: str, *args: Any, **more: Any) -> State:
        if kind == MEMBERS_KIND:
            monkeypatch.undo()
            await look(world)
        return await put(kind, *args, **more)

    monkeypatch.setattr(world.store, "put", put_beside_a_look)
    batch_id = await begun(world, "*USDT")
    await look(world)
    assert statuses(await shown(world, batch_id)) == {"live": 3}


async def test_a_batch_that_another_manager_has_just_made_keeps_its_members(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await batch_world(3)
    other = BatchStore(world.store)
    put, find = world.store.put, world.store.find
    reached, goes_on = asyncio.Event(), asyncio.Event()

    async def waiting_put(kind: str, key: str, body: bytes, **more: Any) -> State:
        if kind == KIND and more["labels"]["status"] == BatchStatus.RUNNING.value:
            reached.set()
            await goes_on.wait()
        return await put(kind, key, body, **more)

    monkeypatch.setattr(world.store, "put", waiting_put)
    making = asyncio.create_task(begun(world, "*USDT"))
    await reached.wait()

    async def found_before_it_is_made(kind: str, *args: Any, **more: Any) -> Sequence[State]:
        states = await find(kind, *args, **more)
        goes_on.set()
        await making
        return states

    monkeypatch.setattr(world.store, "find", found_before_it_is_made)
    await other.load(tidy=True)
    monkeypatch.undo()
    batch_id = await making
    assert [len(one.members) for one in await other.members(batch_id)] == [3]
    await look(world)
    assert statuses(await shown(world, batch_id)) == {"live": 3}


async def test_a_batch_without_its_members_is_not_taken_for_a_finished_one() -> None:
    world = await batch_world(3)
    batch_id = await begun(world, "*USDT")
    (state,) = await world.store.find(MEMBERS_KIND, where={"batch": [batch_id]}, limit=10)
    await world.store.remove(MEMBERS_KIND, state.id, expected=state.revision)
    await look(world)
    stored = await world.deps.batches.get(batch_id)
    assert stored is not None
    assert stored.status is BatchStatus.RUNNING
    with pytest.raises(ConfigError, match="0 of its 3 members"):
        await world.deps.batches.members(batch_id)


async def test_a_page_of_members_reads_the_documents_that_hold_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await batch_world(250)
    batch_id = await begun(world, "*USDT")
    every = [one.symbol for one in (await shown(world, batch_id)).members]
    get, read = world.store.get, list[str]()

    async def counted(kind: str, id: str) -> State | None:
        read.extend([id] * (kind == MEMBERS_KIND))
        return await get(kind, id)

    monkeypatch.setattr(world.store, "get", counted)
    service = world.manager.batches
    for after, first, count, documents in ((-1, 0, 100, 2), (149, 150, 100, 2), (199, 200, 50, 1), (249, 250, 0, 1)):
        page = await service.members(batch_id, after=after, limit=100)
        assert [one.symbol for one in page.members] == every[first : first + count]
        assert page.after == (first + 99 if first + 100 < 250 else None)
        assert len(read) == documents
        read.clear()
    waiting = await service.members(batch_id, statuses=[MemberStatus.WAITING], limit=300)
    assert ([one.symbol for one in waiting.members], waiting.after) == (every, None)
    assert not (await service.members(batch_id, statuses=[MemberStatus.LIVE])).members
