"""An order book whose records lie in a collection for each day: proven over midnight, expired while live, removed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamforge.manager.engine.document import Status
from streamforge.manager.engine.persistence.workflow_store import WorkflowStore
from streamforge.manager.exports.records import RecordReader
from streamforge.manager.policy import RetentionRule
from streamforge.manager.retention.driver import CollectionRetention
from streamforge.manager.retention.segment_removal import SegmentRemoval
from streamforge.manager.retention.service import RecordRemoval
from streamforge.manager.workflows.live.answers import live_answer
from streamforge.manager.workflows.series.model import loaded_series
from streamforge_utils.adapters.object_storage.object_folder import ObjectFolder
from streamforge_utils.model.coverage import joined
from streamforge_utils.model.daily_collections import DAY_MS
from streamforge_utils.model.kinds.registry import kind_named
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from tests.manager.support import changed, replace
from tests.manager.workflows.live.interval_rig import SERIES, STREAM, SUSPECTED, Rig, a_rig, at, counted, shown

MIDNIGHT = 1000
"""The first update of 2 August."""
DAY = DAY_MS // 100
"""Updates from a midnight to the next."""
FIRST, SECOND, LEDGER = "books_20240801", "books_20240802", "books_ledger"
AROUND = (998, 999, 1000, 1001)


@pytest.fixture(params=["segments", "collection"])
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Rig:
    """Diffs are in segments, or in the collections; it is an hour after midnight."""
    rig = await a_rig(tmp_path if request.param == "segments" else None, daily=True)
    rig.wait(3600)
    return rig


async def placed(rig: Rig) -> list[tuple[str | None, int | None, int | None, int]]:
    return [
        (one.collection or one.verdict.value, one.first_id, one.last_id, one.records)
        for one in await rig.world.deps.coverage.of(loaded_series(rig.workflow))
    ]


async def test_each_part_of_what_is_proven_names_its_day_and_the_ledger_lies_beside_them(rig: Rig) -> None:
    await rig.books.hear(*AROUND)
    await rig.books.keep()
    assert await rig.step() == [(998, 1000, "stored", ""), (1000, 1002, "stored", "")]
    assert await placed(rig) == [(FIRST, 998, 999, 2), (SECOND, 1000, 1001, 2)]
    assert (rig.ledger.proven_id, rig.ledger.stored, rig.ledger.open_holes) == (1001, 4, 0)
    assert {FIRST, SECOND, LEDGER} <= set(rig.world.store.flushed)
    assert list(rig.world.store.documents[LEDGER]) == ["BTCUSDT_interval_000000000998"]
    assert "depth_interval" not in {key for name in (FIRST, SECOND) for key in rig.world.store.documents.get(name, {})}


async def test_a_hole_around_midnight_that_dead_letters_fill_is_none(rig: Rig) -> None:
    await rig.books.hear(997, *AROUND, 1002)
    await rig.books.keep(999, 1000)
    assert [one[2] for one in await rig.step()] == ["stored", "unknown", "stored"]
    await rig.books.replay(999, 1000)
    assert {one[2] for one in await rig.step()} == {"stored"}
    assert (rig.ledger.proven_id, rig.ledger.open_holes) == (1002, 0)
    assert {one[0] for one in await placed(rig)} == {FIRST, SECOND}


async def test_days_without_a_record_are_passed_over(rig: Rig) -> None:
    later = MIDNIGHT + 5 * DAY
    await rig.books.hear(999)
    rig.wait(6 * DAY_MS / 1000)
    await rig.books.end("disconnect")
    await rig.books.hear(later, later + 1)
    await rig.books.keep()
    await rig.step()
    await rig.step()
    found = await rig.step()
    assert [one[2:] for one in found] == [("stored", ""), ("lost", "disconnect"), ("stored", "")]
    assert [one[0] for one in await placed(rig)] == [FIRST, "lost", "books_20240807"]
    assert rig.ledger.proven_id == later + 1


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(-4, 3), st.integers(1, 7), st.booleans(), st.booleans()), max_size=6
    ),
    st.booleans(),
)
def test_divided_by_days_it_is_proven_as_in_one_collection(
    runs: Sequence[tuple[int, int, int, bool, bool]], whole: bool
) -> None:
    """Chains around midnights, which end or go on, are kept or not, with a look in between or none."""

    async def told(daily: bool) -> tuple[object, ...]:
        rig = await a_rig(daily=daily)
        rig.wait(6 * DAY_MS / 1000)
        reached = 0
        for day, offset, length, kept, looked in sorted(runs):
            first = max(MIDNIGHT + day * DAY + offset, reached + 1)
            if reached and first > reached + 1:
                await rig.books.end("disconnect")
            await rig.books.hear(*range(first, first + length))
            reached = first + length - 1
            if kept:
                await rig.books.keep()
            if looked:
                await rig.step()
        await rig.books.keep()
        for _ in range(8):
            await rig.step(close=whole)
        found = await rig.world.deps.coverage.of(loaded_series(rig.workflow))
        alike = joined(replace(one, collection=one.collection and "c") for one in found)
        for one in found:
            if one.collection is not None and daily:
                ids = range(one.first_id or 0, (one.last_id or 0) + 1)
                assert {rig.workflow.placement.at(at(number)) for number in ids} == {one.collection}
        return shown(alike), counted(found), rig.ledger.proven_id, rig.ledger.proven_ms, rig.ledger.open_holes

    assert asyncio.run(told(True)) == asyncio.run(told(False))


async def retained(rig: Rig, tmp_path: Path) -> ObjectFolder:
    """Retention of a day, as it is applied now, while the workflow is live; returns the folder of exports."""
    await rig.world.deps.workflows.change(rig.workflow.queue_id, lambda one: changed(one, ledger=rig.ledger))
    policy = replace(rig.world.deps.policy, retention=(RetentionRule("books_*", 1),))
    exports = ObjectFolder(tmp_path / "exports")
    await CollectionRetention(replace(rig.world.deps, policy=policy, retained=exports)).apply()
    return exports


async def test_an_old_day_of_a_live_book_is_exported_and_expires(rig: Rig, tmp_path: Path) -> None:
    await rig.books.hear(900, 901)
    await rig.books.keep()
    await rig.books.hear(*range(902, 1002))
    await rig.books.keep()
    await rig.step()
    rig.wait(DAY_MS / 1000)
    exports = await retained(rig, tmp_path)
    assert await placed(rig) == [("expired", None, 999, 0), (SECOND, 1000, 1001, 2)]
    assert FIRST not in await rig.world.store.names()
    assert "BTCUSDT_interval_000000000900" in rig.world.store.documents[LEDGER], "the interval goes on"
    names = [one.name.split("/", 2)[2] async for one in exports.list(f"{FIRST}/")]
    assert [one for one in names if not one.startswith("depth/")] == ["00001.jsonl.gz", "_manifest.json"]
    if (objects := rig.books.objects) is not None:  # one of both days stays
        segment = "depth/BTCUSDT/000000000900"
        assert [one for one in names if one.startswith("depth/")] == [f"{segment}.json", f"{segment}.jsonl.gz"]
        there = [one.name async for one in objects.list("depth/")]
        assert there == ["depth/BTCUSDT/000000000902.json", "depth/BTCUSDT/000000000902.jsonl.gz"]
    await rig.books.hear(1002)
    await rig.books.back(1002)
    await rig.books.keep()
    await rig.step()
    assert await placed(rig) == [("expired", None, 999, 0), (SECOND, 1000, 1002, 3)]
    assert (rig.ledger.proven_id, rig.ledger.open_holes) == (1002, 0)


async def test_shares_are_of_what_is_not_expired(rig: Rig, tmp_path: Path) -> None:
    await rig.books.hear(*range(1000 - 50, 1000))
    await rig.books.end("disconnect")
    await rig.books.hear(*range(1001, 1011))
    await rig.books.keep()
    await rig.step()
    rig.wait(DAY_MS / 1000)
    await retained(rig, tmp_path)
    await rig.step()
    assert (rig.ledger.expired_ms, rig.ledger.verified_ms) == (at(999) + 1 - at(950), 901)
    told = live_answer(changed(rig.workflow, ledger=rig.ledger), None)
    assert told is not None
    assert told.verified_share == 901 / (901 + 199)
    rig.ledger = replace(rig.ledger, verified_ms=0, lost_ms=0, expired_ms=at(1010) + 1 - at(950))
    told = live_answer(changed(rig.workflow, ledger=rig.ledger), None)
    assert told is not None
    assert told.verified_share is None


async def test_with_the_data_go_all_days_their_ledger_and_segments_of_two_days(rig: Rig) -> None:
    await rig.books.hear(*AROUND)
    await rig.books.keep()
    await rig.books.end("stopped")
    await rig.step(close=True)
    deps, objects = rig.world.deps, rig.books.objects
    removal = RecordRemoval(rig.world.store, deps.coverage, WorkflowStore(rig.world.store), deps.observer, objects)
    day = TimeRange(STREAM, at(MIDNIGHT))
    await removal.remove(SERIES, FIRST, day)
    assert await placed(rig) == [(SECOND, 1000, 1001, 2)]
    if objects is not None:
        assert len([one async for one in objects.list("depth/")]) == 2
    await removal.remove_all(SERIES, rig.workflow.placement, TimeRange(STREAM, at(MIDNIGHT + 10)))
    assert [name for name in await rig.world.store.names() if name.startswith("books")] == []
    if objects is not None:
        assert [one async for one in objects.list("depth/")] == []


async def test_diffs_are_read_by_day_by_base_and_by_range_each_once(rig: Rig) -> None:
    await rig.books.hear(*AROUND)
    await rig.books.keep()
    await rig.step()
    reader = RecordReader(rig.world.store, rig.world.deps.coverage, rig.books.objects)

    async def ids(name: str, span: TimeRange | None = None, kind: str = "depth", limit: int = 99) -> list[int]:
        series, found, after = Series("BTCUSDT", kind), list[int](), None
        there = await rig.world.store.names()
        named = [name] if name in there else await reader.named(name, series, there)
        while True:
            what: dict[str, Any] = {"span": span, "whole": False, "series": series, "after": after, "limit": limit}
            keys = [key async for batch in reader.read_each(named, **what) for key, _ in batch]
            found += kind_named(kind).positions(series, keys)
            if len(keys) < limit:
                return found
            after = keys[-1]

    assert await ids("books", limit=1) == await ids("books") == [*AROUND]
    assert await ids("books", TimeRange(at(999), at(1001))) == [999, 1000]
    assert await ids("books", kind="depth_interval") == [998]
    assert await ids("books", kind="depth_checkpoint") == [998]
    assert await ids(SECOND, TimeRange(at(1000), at(1001))) == [1000]
    assert await ids("nothing") == []


async def test_a_copy_that_goes_leaves_what_the_ledger_tells_of_its_time(rig: Rig) -> None:
    await rig.books.hear(*AROUND)
    await rig.books.keep()
    await rig.books.end("stopped")
    await rig.step(close=True)
    deps, objects = rig.world.deps, rig.books.objects
    first, _ = await deps.coverage.of(SERIES)
    await deps.coverage.prove(SERIES, [replace(first, collection=SECOND)], None, 0)
    removal = RecordRemoval(rig.world.store, deps.coverage, WorkflowStore(rig.world.store), deps.observer, objects)
    await removal.finish(SERIES)
    assert FIRST not in await rig.world.store.names()
    assert "BTCUSDT_interval_000000000998" in rig.world.store.documents[LEDGER]
    if objects is not None:
        assert len([one async for one in objects.list("depth/")]) == 2


async def test_what_has_expired_stays_so_where_the_loader_doubts_what_was_before(rig: Rig) -> None:
    place = rig.books.ledger.mark()
    await rig.books.hear(*AROUND)
    await rig.books.keep()
    await rig.step()
    await rig.world.deps.coverage.expire(SERIES, TimeRange(at(1000), at(1001) + 1), 1001)
    rig.books.ledger.doubt_since(place, SUSPECTED)
    await rig.books.tell()
    assert await rig.step() == [(998, 1000, "stored", "suspect: sequence gap"), (1000, 1002, "expired", "retention")]


async def test_a_segment_goes_once_no_live_workflow_may_have_to_prove_it(tmp_path: Path) -> None:
    rig = await a_rig(tmp_path, daily=True)
    await rig.books.hear(1, 2)
    await rig.books.keep()
    deps, objects = rig.world.deps, rig.books.objects
    assert objects is not None
    removal = SegmentRemoval(objects, deps.coverage, deps.workflows)
    await removal.remove(SERIES, TimeRange(at(0), at(2)))
    assert len([one async for one in objects.list("depth/")]) == 2
    await deps.workflows.change(rig.workflow.queue_id, lambda one: replace(one, status=Status.FINISHED))
    await removal.remove(SERIES, TimeRange(at(5), at(9)))
    assert len([one async for one in objects.list("depth/")]) == 2
    await removal.remove(SERIES, TimeRange(at(0), at(2)))
    assert [one async for one in objects.list("depth/")] == []
