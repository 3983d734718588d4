"""Segments are read again when it is asked for: what is gone or damaged is lost, with its cause; all else stays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from streamforge.manager.books.verification import AGAIN_S
from streamforge.manager.engine.document import Status, Workflow
from streamforge.manager.execution.verifier import verify
from streamforge.manager.use_cases import Verification
from streamforge.manager.workflows.series.model import loaded_series
from streamforge_utils.adapters.object_storage.object_folder import ObjectFolder
from streamforge_utils.model.books.segments import CONTENT, MANIFEST, decode_manifest
from streamforge_utils.model.coverage import DAMAGED, GONE
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.timeranges import TimeRange
from tests.doubles.manualclock import ManualClock
from tests.manager.support import changed, replace
from tests.manager.workflows.live.interval_rig import AWAITING, C, Rig, a_rig, at, shown

NAME = "depth/BTCUSDT/000000000011"
WHOLE = [(1, 31, "stored", "")]


@pytest.fixture
async def rig(tmp_path: Path) -> Rig:
    """Three segments of ten diffs each; their workflow has ended."""
    rig = await a_rig(tmp_path / "objects")
    for first in (1, 11, 21):
        await rig.books.hear(*range(first, first + 10))
        await rig.books.keep()
    assert await rig.step() == WHOLE
    await rig.world.deps.workflows.change(rig.workflow.queue_id, _ended(rig))
    return rig


async def verified(rig: Rig, span: TimeRange | None = None) -> Verification:
    return await verify(rig.world.deps, loaded_series(rig.workflow), span)


async def known(rig: Rig) -> list[tuple[int, int, str, str]]:
    return shown(await rig.world.deps.coverage.of(loaded_series(rig.workflow)))


async def test_what_is_whole_stays_as_it_is(rig: Rig) -> None:
    before = await rig.world.deps.coverage.of(loaded_series(rig.workflow))
    assert await verified(rig) == Verification(counted=30, gaps=())
    assert await rig.world.deps.coverage.of(loaded_series(rig.workflow)) == before


def _gone(folder: Path) -> None:
    for ending in (MANIFEST, CONTENT):
        (folder / f"{NAME}{ending}").unlink()


def _without_content(folder: Path) -> None:
    (folder / f"{NAME}{CONTENT}").unlink()


def _without_manifest(folder: Path) -> None:
    (folder / f"{NAME}{MANIFEST}").unlink()


def _flipped(folder: Path) -> None:
    path = folder / f"{NAME}{CONTENT}"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _no_manifest(folder: Path) -> None:
    (folder / f"{NAME}{MANIFEST}").write_bytes(b"{}")


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (_gone, GONE),
        (_without_manifest, GONE),
        (_without_content, DAMAGED),
        (_flipped, DAMAGED),
        (_no_manifest, DAMAGED),
    ],
)
async def test_what_is_not_there_any_more_is_lost_with_its_cause(
    rig: Rig, tmp_path: Path, spoil: Callable[[Path], None], cause: str
) -> None:
    spoil(tmp_path / "objects")
    found = await verified(rig)
    lost = [(1, 11, "stored", ""), (11, 21, "lost", cause), (21, 31, "stored", "")]
    assert (found.counted, shown(found.gaps), found.gaps[0].records) == (20, [(11, 21, "lost", cause)], 10)
    assert await known(rig) == lost
    assert [(one.first_id, one.last_id) for one in await rig.world.deps.coverage.of(loaded_series(rig.workflow))] == [
        (1, 10),
        (11, 20),
        (21, 30),
    ]
    assert rig.world.observer.counts["missing_records_total"] == 10
    assert await verified(rig) == Verification(counted=20, gaps=())
    assert await known(rig) == lost


@pytest.mark.parametrize("change", [{"first_u": 12}, {"last_u": 21}, {"count": 9}])
async def test_a_manifest_that_says_something_else_than_its_file_is_damaged(rig: Rig, change: dict[str, int]) -> None:
    objects = rig.books.objects
    assert objects is not None
    manifest = decode_manifest(b"".join([block async for block in objects.get(NAME + MANIFEST)]))
    await objects.put(NAME + MANIFEST, msgspec.json.encode(replace(manifest, **change)))
    assert [one.cause for one in (await verified(rig)).gaps] == [DAMAGED]
    lost = await known(rig)
    await verified(rig)
    assert await known(rig) == lost


async def test_what_the_collection_has_too_is_there(rig: Rig, tmp_path: Path) -> None:
    await rig.books.replay(*range(11, 20))
    _gone(tmp_path / "objects")
    found = await verified(rig)
    assert (found.counted, [one.records for one in found.gaps]) == (29, [1])
    assert await known(rig) == [(1, 20, "stored", ""), (20, 21, "lost", GONE), (21, 31, "stored", "")]


@pytest.mark.parametrize("first", [1, 21])
async def test_the_first_or_the_last_segment_is_gone(rig: Rig, first: int) -> None:
    objects = rig.books.objects
    assert objects is not None
    await objects.delete([f"depth/BTCUSDT/{first:012}{ending}" for ending in (MANIFEST, CONTENT)])
    await verified(rig)
    lost = [(1, 11, "lost", GONE), (11, 31, "stored", "")]
    assert await known(rig) == (lost if first == 1 else [(1, 21, "stored", ""), (21, 31, "lost", GONE)])


async def test_only_what_touches_the_range_is_read(rig: Rig, tmp_path: Path) -> None:
    _gone(tmp_path / "objects")
    assert await verified(rig, TimeRange(at(40), at(50))) == Verification(counted=0, gaps=())
    assert await known(rig) == WHOLE


async def live(rig: Rig) -> asyncio.Task[Verification]:
    """A verification of a live workflow that has missed a segment, and is about to look again."""
    await rig.world.deps.workflows.change(rig.workflow.queue_id, lambda one: replace(one, status=Status.RUNNING))
    looking = asyncio.create_task(verified(rig))
    assert isinstance(rig.world.clock, ManualClock)
    await rig.world.clock.sleeping(1)
    return looking


async def test_a_segment_that_its_sink_replaces_just_then_is_not_gone(rig: Rig, tmp_path: Path) -> None:
    kept = {path: path.read_bytes() for path in (tmp_path / "objects").rglob("000000000011.json*")}
    _gone(tmp_path / "objects")
    looking = await live(rig)
    for path, content in kept.items():
        path.write_bytes(content)
    rig.wait(AGAIN_S)
    assert await looking == Verification(counted=20, gaps=())
    assert await known(rig) == WHOLE


async def test_a_live_one_goes_on_behind_what_is_lost(rig: Rig, tmp_path: Path) -> None:
    _gone(tmp_path / "objects")
    looking = await live(rig)
    rig.wait(AGAIN_S)
    assert [one.records for one in (await looking).gaps] == [10]
    await rig.books.hear(31)
    await rig.books.keep()
    assert await rig.step() == [(1, 11, "stored", ""), (11, 21, "lost", GONE), (21, 32, "stored", "")]
    assert (rig.ledger.proven_id, rig.ledger.open_holes, rig.ledger.lost_ms) == (31, 0, at(21) - at(10) - 1)


async def test_what_retention_has_removed_meanwhile_is_expired_and_not_lost(rig: Rig, tmp_path: Path) -> None:
    _gone(tmp_path / "objects")
    looking = await live(rig)
    await rig.world.deps.coverage.expire(loaded_series(rig.workflow), TimeRange(at(1), at(20) + 1), 20)
    rig.wait(AGAIN_S)
    assert (await looking).gaps[0].collection == C
    assert await known(rig) == [(1, 21, "expired", "retention"), (21, 21, "lost", GONE), (21, 31, "stored", "")]


async def test_without_a_store_of_objects_nothing_is_called_lost(rig: Rig) -> None:
    rig.world.deps = replace(rig.world.deps, objects=None)
    with pytest.raises(RetryableError, match=r"nothing was changed\. Set STREAMFORGE_OBJECTS_URL"):
        await verified(rig)
    assert await known(rig) == WHOLE


async def test_where_there_is_no_segment_at_all_nothing_is_called_lost(rig: Rig, tmp_path: Path) -> None:
    rig.world.deps = replace(rig.world.deps, objects=ObjectFolder(tmp_path / "elsewhere"))
    with pytest.raises(RetryableError, match=r"no segment of BTCUSDT.* Let STREAMFORGE_OBJECTS_URL name the folder"):
        await verified(rig)
    assert await known(rig) == WHOLE


@pytest.mark.parametrize("first", [1, 11, 21])
@pytest.mark.parametrize("spoil", [_gone, _flipped])
async def test_what_is_brought_back_is_stored_again(
    rig: Rig, tmp_path: Path, first: int, spoil: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.NAME", f"depth/BTCUSDT/{first:012}")
    before = await rig.world.deps.coverage.of(loaded_series(rig.workflow))
    kept = {path: path.read_bytes() for path in (tmp_path / "objects").rglob(f"{first:012}.json*")}
    spoil(tmp_path / "objects")
    assert [one.records for one in (await verified(rig)).gaps] == [10]
    for path, content in kept.items():
        path.write_bytes(content)
    assert await verified(rig) == Verification(counted=30, gaps=())
    after = await rig.world.deps.coverage.of(loaded_series(rig.workflow))
    assert [replace(one, records=0) for one in after] == [replace(one, records=0) for one in before]


async def test_what_is_brought_back_has_the_trust_that_its_loader_told_and_only_of_what_is_there(
    tmp_path: Path,
) -> None:
    rig = await a_rig(tmp_path / "objects")
    await rig.books.hear(*range(1, 11))
    await rig.books.keep()
    await rig.books.hear(*range(11, 14))
    await rig.books.end("disconnect")
    rig.books.ledger.standing = AWAITING
    await rig.books.hear(*range(16, 21))
    await rig.books.keep()
    await rig.books.hear(*range(21, 31))
    await rig.books.keep()
    whole = await rig.step()
    assert [one[2:] for one in whole[1:3]] == [("lost", "disconnect"), ("stored", "unverifiable: awaiting snapshot")]
    kept = {path: path.read_bytes() for path in (tmp_path / "objects").rglob("0000000000*1.json*")}
    for path in kept:
        if "01.json" not in path.name:
            path.unlink()
    await rig.world.deps.workflows.change(rig.workflow.queue_id, _ended(rig))
    assert len((await verified(rig)).gaps) == 2
    for path, content in kept.items():
        if "21.json" not in path.name:
            path.write_bytes(content)
    assert (await verified(rig)).counted == 17  # of the last one's millisecond more may come
    assert await known(rig) == [*whole[:2], (16, 20, *whole[2][2:]), (20, 31, "lost", GONE)]
    for path, content in kept.items():
        path.write_bytes(content)
    assert (await verified(rig)).counted == 28
    assert await known(rig) == whole


def _ended(rig: Rig) -> Callable[[Workflow], Workflow]:
    return lambda one: changed(one, status=Status.FINISHED, ledger=rig.ledger)


async def test_what_was_lost_with_its_segment_is_no_hole_of_a_live_one(rig: Rig, tmp_path: Path) -> None:
    await rig.books.end("disconnect")
    for first in (35, 41):
        await rig.books.hear(*range(first, first + 5))
        await rig.books.end("disconnect")
        await rig.books.keep()
    await rig.books.hear(50)
    await rig.books.keep()
    whole = await rig.step()
    for path in (tmp_path / "objects").rglob("000000000035.json*"):
        path.unlink()
    await verified(rig)
    lost = [(*one[:2], "lost", GONE) if one[0] == 35 else one for one in whole]
    assert await known(rig) == lost
    await rig.books.hear(51)
    await rig.books.keep()
    assert await rig.step() == [*lost[:-1], (50, 52, "stored", "")]
    assert rig.ledger.open_holes == 0
