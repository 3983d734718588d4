"""Old collections are exported, then dropped; what is used, unknown or young stays."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Workflow
from streamforge.manager.policy import RetentionRule
from streamforge.manager.retention import collection_export
from streamforge.manager.retention.collection_export import MANIFEST
from streamforge.manager.retention.driver import COLLECTIONS_EVERY_S, CollectionRetention, Retention
from streamforge_utils.adapters.object_storage.object_folder import ObjectFolder
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.series import Series
from streamforge_utils.ports.store import Document
from tests.doubles.manualclock import ManualClock
from tests.manager.execution.world import SERIES, create, retain, unanswered
from tests.manager.retention.exports import KEPT, OLD, content, exports, fill, lines
from tests.manager.support import DAY_MS, DAY_START, NOW, World, accepted, planned
from tests.runtime.rig import until

YOUNG, FOREIGN = "btcusdt_api_candles_1m_2024_08_09", "somebody_elses"


@pytest.fixture
def deps(world: World, tmp_path: Path) -> Dependencies:
    """A world (ten days after its day) that keeps nothing longer than five days; two collections are covered."""
    policy = msgspec.structs.replace(world.deps.policy, retention=(RetentionRule("*_1m_*", 5),))
    return msgspec.structs.replace(world.deps, policy=policy, retained=ObjectFolder(tmp_path / "kept"))


def hour_later(deps: Dependencies) -> None:
    assert isinstance(deps.clock, ManualClock)
    deps.clock.advance(COLLECTIONS_EVERY_S)


async def test_what_is_old_is_exported_then_dropped_and_no_longer_covered(world: World, deps: Dependencies) -> None:
    await fill(world, OLD, DAY_START)
    await fill(world, YOUNG, NOW - 2 * DAY_MS)
    await fill(world, FOREIGN, DAY_START, covered=False)
    await CollectionRetention(deps).apply()
    assert sorted(await world.store.names()) == sorted([YOUNG, FOREIGN])
    (name,) = await exports(deps)
    assert await lines(deps, name) == KEPT
    manifest = json.loads(await content(deps, f"{name}/{MANIFEST}"))
    assert (name.partition("/")[0], manifest["collection"]) == (OLD, OLD)
    assert manifest["series"] == [
        {"symbol": "BTCUSDT", "type": "api_candles_1m", "start": "2024-08-01", "end": "2024-08-02"}
    ]
    assert [(s.verdict, s.collection, s.cause) for s in await world.deps.coverage.of(SERIES)] == [
        (Verdict.EXPIRED, None, "retention"),
        (Verdict.STORED, YOUNG, ""),
    ]


@pytest.mark.parametrize(
    ("starts_ms", "left"),
    [([NOW - 6 * DAY_MS], []), ([NOW - 6 * DAY_MS + 1], [OLD]), ([DAY_START, NOW - 2 * DAY_MS], [OLD])],
)
async def test_records_are_kept_until_the_newest_has_the_age_of_the_policy(
    starts_ms: list[int], left: list[str], world: World, deps: Dependencies
) -> None:
    """A day long, its end is five days old."""
    for start_ms in starts_ms:
        await fill(world, OLD, start_ms)
    await CollectionRetention(deps).apply()
    assert list(await world.store.names()) == left


@pytest.mark.parametrize("symbol", ["AAAUSDT", "ZZZUSDT"])
async def test_a_young_collection_holds_up_no_older_one(symbol: str, world: World, deps: Dependencies) -> None:
    await fill(world, YOUNG, NOW - 2 * DAY_MS, series=Series(symbol, "candles", "1m"))
    await fill(world, OLD, DAY_START)
    await CollectionRetention(deps).apply()
    assert list(await world.store.names()) == [YOUNG]


async def test_every_record_is_exported_whatever_its_key_its_page_and_its_part(
    world: World, deps: Dependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection_export, "_RECORDS_A_PAGE", 1)
    monkeypatch.setattr(collection_export, "_PART_BYTES", 40)
    await fill(world, OLD, DAY_START)
    await world.store.upsert(OLD, [Document("A", 1, b"{}"), Document("AB", 2, b"{ }"), Document("B", 3, b'{ "n": 1}')])
    sizes, read = [], world.store.read

    async def recorded(*args: Any, **more: Any) -> Any:
        page = await read(*args, **more)
        sizes.append(len(page))
        return page

    monkeypatch.setattr(world.store, "read", recorded)
    await CollectionRetention(deps).apply()
    (name,) = await exports(deps)
    parts = json.loads(await content(deps, f"{name}/{MANIFEST}"))["parts"]
    assert [(part["file"], part["records"]) for part in parts] == [
        (f"0000{number}.jsonl.gz", 2) for number in (1, 2, 3)
    ]
    assert await lines(deps, name) == [
        {"_key": "A", "_version": 1},
        {"_key": "AB", "_version": 2},
        {"_key": "B", "_version": 3, "n": 1},
        *KEPT,
    ]
    assert sizes == [1, 1, 1, 1, 1, 1, 0] * 2, "once to export them, once to see that they are the same"
    assert world.observer.counts["retention_collections_total"] == 1
    assert world.observer.counts["retention_records_total"] == 6


async def test_what_coverage_says_of_a_collection_that_is_gone_goes_too(world: World, deps: Dependencies) -> None:
    await fill(world, OLD, DAY_START)
    await world.store.drop(OLD)
    await CollectionRetention(deps).apply()
    known = await world.deps.coverage.known(SERIES)
    assert ([s.verdict for s in known.segments], known.leftovers) == ([Verdict.EXPIRED], ())
    assert await exports(deps) == [], "there was nothing to export"


@pytest.mark.parametrize("method", ["put", "get"])
async def test_what_the_store_of_objects_does_not_take_whole_stays(
    method: str, world: World, deps: Dependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(world, OLD, DAY_START)

    async def half(name: str) -> AsyncIterator[bytes]:
        yield gzip.compress(b"{}\n")

    with monkeypatch.context() as patch:
        patch.setattr(deps.retained, method, half if method == "get" else unanswered)
        await CollectionRetention(deps).apply()
    assert list(await world.store.names()) == [OLD]
    assert [segment.verdict for segment in await world.deps.coverage.of(SERIES)] == [Verdict.STORED]
    assert await exports(deps) == []
    assert +world.observer.counts == {"action_failures_total{action=Age}": 1}


USERS = [
    pytest.param(planned(), id="it writes to it and relies on it"),
    pytest.param(accepted(symbol="ETHUSDT", collection=OLD), id="it writes to it"),
    pytest.param(accepted(collection="elsewhere"), id="it relies on it"),
]


@pytest.mark.parametrize("workflow", USERS)
async def test_what_a_workflow_uses_stays(workflow: Workflow, world: World, deps: Dependencies) -> None:
    await fill(world, OLD, DAY_START)
    await create(world, workflow)
    await CollectionRetention(deps).apply()
    assert list(await world.store.names()) == [OLD]
    assert await exports(deps) == [], "nothing was exported for nothing"


@pytest.mark.parametrize("change", [*USERS, pytest.param(None, id="somebody stores more in it")])
async def test_what_is_used_by_the_time_it_is_exported_stays(
    change: Workflow | None, world: World, deps: Dependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(world, OLD, DAY_START)
    read = world.store.read

    async def meanwhile(*args: Any, **more: Any) -> Any:
        monkeypatch.setattr(world.store, "read", read)
        if change is None:
            stored = Segment(start_ms=0, end_ms=DAY_MS, verdict=Verdict.STORED, collection=OLD, records=1)
            await world.deps.coverage.lay_over(SERIES, [stored])
        else:
            await create(world, change)
        return await read(*args, **more)

    monkeypatch.setattr(world.store, "read", meanwhile)
    await CollectionRetention(deps).apply()
    assert list(await world.store.names()) == [OLD]
    assert await exports(deps) == []
    assert len(await world.deps.coverage.of(SERIES)) == (2 if change is None else 1)
    assert +world.observer.counts == {"action_failures_total{action=Age}": 1}


@pytest.mark.parametrize("there", [True, False], ids=["it is there", "it is gone"])
@pytest.mark.parametrize("name", [OLD, SERIES.id])
async def test_who_counts_the_series_or_uses_the_collection_is_waited_for(
    name: str, there: bool, world: World, deps: Dependencies
) -> None:
    await fill(world, OLD, DAY_START)
    if not there:
        await world.store.drop(OLD)
    locks = world.deps.coverage.locks
    async with locks.hold(name):
        ageing = asyncio.create_task(CollectionRetention(deps).apply())
        await until(lambda: locks._held[name].users == 2 or ageing.done())
        assert list(await world.store.names()) == [OLD] * there
        assert len(await world.deps.coverage.of(SERIES)) == 1
    await ageing
    assert list(await world.store.names()) == []


@pytest.mark.parametrize("meanwhile", ["relied on", "stored again"])
async def test_a_collection_that_is_missing_stays_in_the_coverage_if_it_is_used_by_then(
    world: World, deps: Dependencies, meanwhile: str
) -> None:
    await fill(world, OLD, DAY_START)
    await world.store.drop(OLD)
    # Somebody counts what is stored of the series, for a plan that relies on it.
    async with world.deps.coverage.locks.hold(SERIES.id):
        ageing = asyncio.create_task(CollectionRetention(deps).apply())
        await world.settle()
        if meanwhile == "relied on":
            await create(world, accepted(collection="elsewhere"))
        else:
            await world.store.upsert(OLD, [Document("k", 1, b"{}")])
    await ageing
    assert [one.collection for one in await world.deps.coverage.of(SERIES)] == [OLD]


async def test_what_cannot_be_exported_stays(world: World, deps: Dependencies, tmp_path: Path) -> None:
    await fill(world, OLD, DAY_START)
    (tmp_path / "kept").write_text("a file where the folder should be")
    await CollectionRetention(deps).apply()
    assert list(await world.store.names()) == [OLD]
    assert await world.deps.coverage.of(SERIES)
    assert +world.observer.counts == {f"action_failures_total{{action={action}}}": 1 for action in ("Age", "Tidy")}


@pytest.mark.parametrize(
    "late",
    [
        pytest.param(Document("a", 1, b"{}"), id="one more"),
        pytest.param(Document("k1", 2, b'{"n":7}'), id="one replaced"),
        pytest.param(Document("k1", 2, b'{"n":1}'), id="one seen again"),
    ],
)
async def test_what_changes_while_it_is_exported_stays(
    late: Document, world: World, deps: Dependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(world, OLD, DAY_START)
    read = world.store.read

    async def changing(collection: str, *, first: str = "", last: str | None = None, limit: int = 1000) -> Any:
        page = await read(collection, first=first, last=last, limit=limit)
        await world.store.upsert(collection, [late])
        return page

    monkeypatch.setattr(world.store, "read", changing)
    await CollectionRetention(deps).apply()
    assert list(await world.store.names()) == [OLD]
    assert await exports(deps) == []


async def test_no_files_pile_up_while_a_collection_cannot_be_read_or_dropped(
    world: World, deps: Dependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(world, OLD, DAY_START)
    ageing = CollectionRetention(deps)
    for part, left in (("read", 0), ("drop", 1)):
        with monkeypatch.context() as patch:
            patch.setattr(world.store, part, unanswered)
            for _ in range(3):
                await ageing.apply()
                assert len(await exports(deps)) == left  # a drop that failed may be carried out later: one copy stays
                hour_later(deps)
        assert list(await world.store.names()) == [OLD]
    await ageing.apply()
    assert list(await world.store.names()) == []
    (kept,) = await exports(deps)
    assert await lines(deps, kept) == KEPT


@pytest.mark.parametrize("meanwhile", ["it is filled again", "its export is moved"])
async def test_an_export_is_replaced_only_by_another_of_the_same_records(
    meanwhile: str, world: World, deps: Dependencies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The export is there, and an hour passes until the drop."""
    await fill(world, OLD, DAY_START)
    ageing = CollectionRetention(deps)
    with monkeypatch.context() as patch:
        patch.setattr(world.store, "drop", unanswered)
        await ageing.apply()
    (first,) = await exports(deps)
    if "moved" in meanwhile:
        (tmp_path / "kept" / OLD).rename(tmp_path / "moved")
    else:  # the drop was carried out after its time
        await world.store.drop(OLD)
        await world.store.upsert(OLD, [Document("other", 1, b'{"n":9}')])
    hour_later(deps)
    await ageing.apply()
    assert list(await world.store.names()) == []
    found = {name: await lines(deps, name) for name in await exports(deps)}
    assert found.pop(first, None) == (KEPT if "filled" in meanwhile else None)
    assert list(found.values()) == [[{"_key": "other", "_version": 1, "n": 9}] if "filled" in meanwhile else KEPT]


async def test_a_drop_whose_answer_got_lost_is_brought_to_its_end(world: World, deps: Dependencies) -> None:
    await fill(world, OLD, DAY_START)
    drop = world.store.drop

    async def cut(collection: str) -> None:
        await drop(collection)
        raise RetryableError("the answer got lost")

    world.store.drop = cut  # type: ignore[method-assign]
    ageing = CollectionRetention(deps)
    await ageing.apply()
    assert len(await exports(deps)) == 1  # the only place where the records are now
    assert [s.verdict for s in await world.deps.coverage.of(SERIES)] == [Verdict.EXPIRED], "struck before the drop"
    assert len((await world.deps.coverage.known(SERIES)).leftovers) == 1
    await ageing.apply()  # not before an hour is over
    assert len((await world.deps.coverage.known(SERIES)).leftovers) == 1
    hour_later(deps)
    await ageing.apply()
    assert (await world.deps.coverage.known(SERIES)).leftovers == ()


async def test_what_is_old_goes_even_if_the_room_cannot_be_measured(
    world: World, deps: Dependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(world, OLD, DAY_START)
    monkeypatch.setattr(world.store, "usage", unanswered)
    await retain(Retention(deps, world.reconciler.executor, world.reconciler.inbox))
    assert list(await world.store.names()) == []
    assert len(await exports(deps)) == 1


OTHER, OTHERS = "ethusdt_api_candles_1m_2024_08_01", Series("ETHUSDT", "candles", "1m")


async def test_one_that_takes_long_holds_up_no_other(
    world: World, deps: Dependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(world, OLD, DAY_START)
    await fill(world, OTHER, DAY_START, series=OTHERS)
    gate, read = asyncio.Event(), world.store.read

    async def slow(collection: str, **fields: Any) -> Any:
        if collection == OTHER:  # it is the first
            await gate.wait()
        return await read(collection, **fields)

    monkeypatch.setattr(world.store, "read", slow)
    ageing = asyncio.create_task(CollectionRetention(deps).apply())
    await until(lambda: OLD not in world.store.documents, ageing)
    assert OTHER in await world.store.names()
    gate.set()
    await ageing
    assert list(await world.store.names()) == []
    assert len(await exports(deps)) == 2


async def test_what_damaged_coverage_names_stays_and_the_rest_goes(world: World, deps: Dependencies) -> None:
    await fill(world, OLD, DAY_START)
    await fill(world, OTHER, DAY_START, series=OTHERS)
    world.store.damage("series", SERIES.id, world.store.states["series", SERIES.id].body[:-1])
    await CollectionRetention(deps).apply()
    assert list(await world.store.names()) == [OLD]
    assert [name.partition("/")[0] for name in await exports(deps)] == [OTHER]
