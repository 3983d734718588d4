"""Exports of one collection by several tries and managers: none takes another's for its own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from streamforge.manager.dependencies import Dependencies
from streamforge.manager.policy import RetentionRule
from streamforge.manager.retention.collection_export import MANIFEST
from streamforge.manager.retention.driver import COLLECTIONS_EVERY_S, CUT_SHORT_EVERY_S, CollectionRetention
from streamforge_utils.adapters.object_storage.object_folder import ObjectFolder
from streamforge_utils.model.coverage import Verdict
from streamforge_utils.ports.object_store import ObjectStore
from tests.doubles.manualclock import ManualClock
from tests.manager.execution.world import SERIES, unanswered
from tests.manager.retention.exports import KEPT, OLD, content, exports, fill, folders, lines
from tests.manager.support import DAY_START, NOW, World
from tests.runtime.rig import until

PART = "00001.jsonl.gz"


@pytest.fixture
def deps(world: World, tmp_path: Path) -> Dependencies:
    policy = msgspec.structs.replace(world.deps.policy, retention=(RetentionRule("*_1m_*", 5),))
    return msgspec.structs.replace(world.deps, policy=policy, retained=ObjectFolder(tmp_path))


class Held:
    """The objects as a manager has them that is suspended before the put of a file."""

    def __init__(self, objects: ObjectStore | None, file: str) -> None:
        self._objects, self._file = objects, file
        self.reached, self.goes_on = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects, name)

    async def put(self, name: str, data: bytes) -> object:
        if name.endswith(f"/{self._file}"):
            self.reached.set()
            await self.goes_on.wait()
        return await cast("ObjectStore", self._objects).put(name, data)


@pytest.mark.parametrize("cancelled", [True, False], ids=["cancelled", "goes on"])
@pytest.mark.parametrize("file", [PART, MANIFEST])
async def test_a_manager_that_was_superseded_leaves_the_export_of_the_other(
    file: str, cancelled: bool, world: World, deps: Dependencies
) -> None:
    await fill(world, OLD, DAY_START)
    held = Held(deps.retained, file)
    late = CollectionRetention(msgspec.structs.replace(deps, retained=cast("ObjectStore", held)))
    ageing = asyncio.create_task(late.apply())
    await held.reached.wait()
    await CollectionRetention(deps).apply()
    assert list(await world.store.names()) == []
    held.goes_on.set()
    if cancelled:
        ageing.cancel()
    await asyncio.wait({ageing})
    assert ageing.cancelled() is cancelled
    (name,) = await exports(deps)
    assert await lines(deps, name) == KEPT
    assert [segment.verdict for segment in await world.deps.coverage.of(SERIES)] == [Verdict.EXPIRED]


async def test_every_export_has_a_name_of_its_own_and_the_same_records_give_the_same_part(
    world: World, deps: Dependencies
) -> None:
    tokens = count(1)
    for _ in range(2):
        await fill(world, OLD, DAY_START)
        await CollectionRetention(deps, lambda: f"{next(tokens):016x}").apply()
    names = [f"{OLD}/{number:016x}" for number in (1, 2)]
    assert await folders(deps) == {name: [PART, MANIFEST] for name in names}
    first, second = [await content(deps, f"{name}/{PART}") for name in names]
    assert first == second
    assert first[4:8] == bytes(4), "no time in it"


async def test_parts_of_an_export_that_was_cut_short_are_removed_once_nobody_can_be_at_work_on_it(
    deps: Dependencies, tmp_path: Path
) -> None:
    assert isinstance(deps.clock, ManualClock)
    assert deps.retained is not None
    day_ms = int(CUT_SHORT_EVERY_S * 1000)

    async def put(folder: str, files: Sequence[str], age_ms: int) -> None:
        for file in files:
            await cast("ObjectStore", deps.retained).put(f"{folder}/{file}", b"content")
            os.utime(tmp_path / folder / file, ns=((NOW - age_ms) * 1_000_000,) * 2)

    cut, young, whole, others = f"{OLD}/{1:016x}", f"{OLD}/{2:016x}", f"{OLD}/{3:016x}", f"{OLD}/mine"
    await put(cut, [PART, "100000.jsonl.gz"], day_ms + 1)
    await put(young, [PART], 2 * day_ms)
    await put(young, ["00002.jsonl.gz"], day_ms)
    await put(whole, [PART, MANIFEST], 2 * day_ms)
    for folder in (others, OLD):
        await put(folder, [PART], 2 * day_ms)
    before, ageing = await folders(deps), CollectionRetention(deps)
    await ageing.apply()
    assert await folders(deps) == {name: files for name, files in before.items() if name != cut}
    deps.clock.advance(COLLECTIONS_EVERY_S)
    await ageing.apply()
    assert young in await folders(deps), "not looked for again every hour"
    deps.clock.advance(CUT_SHORT_EVERY_S)
    await ageing.apply()
    assert (await folders(deps)).keys() == {whole, others, OLD}


async def test_a_cancelled_export_ends_although_the_objects_do_not_answer(
    world: World, deps: Dependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(world, OLD, DAY_START)
    reading, read = asyncio.Event(), world.store.read
    monkeypatch.setattr(deps.retained, "delete", unanswered)

    async def again(*args: Any, **more: Any) -> Any:
        if MANIFEST in str(await folders(deps)):
            reading.set()
            await asyncio.Event().wait()
        return await read(*args, **more)

    monkeypatch.setattr(world.store, "read", again)
    ageing = asyncio.create_task(CollectionRetention(deps).apply())
    await until(lambda: reading.is_set() or ageing.done())
    ageing.cancel()
    await asyncio.wait({ageing})
    assert ageing.cancelled()
    assert list(await world.store.names()) == [OLD]
