"""Segments are read again when it is asked for: what is gone or damaged is lost, with its cause; all else stays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from streamforge.manager.execution.segment_verification import AGAIN_S, DAMAGED, GONE
from streamforge.manager.execution.verifier import verify
from streamforge.manager.service import Verification
from streamforge.manager.workflow import Status
from streamforge_utils.model.books.segments import CONTENT, MANIFEST, decode_manifest
from streamforge_utils.model.timeranges import TimeRange
from tests.doubles.manualclock import ManualClock
from tests.manager.execution.interval_rig import at, shown
from tests.manager.execution.test_interval_comparison import C, Rig, a_rig
from tests.manager.support import replace

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
    await rig.world.deps.workflows.change(rig.workflow.queue_id, lambda one: replace(one, status=Status.FINISHED))
    return rig


async def verified(rig: Rig, span: TimeRange | None = None) -> Verification:
    return await verify(rig.world.deps, rig.workflow.series, span)


async def known(rig: Rig) -> list[tuple[int, int, str, str]]:
    return shown(await rig.world.deps.coverage.of(rig.workflow.series))


async def test_what_is_whole_stays_as_it_is(rig: Rig) -> None:
    before = await rig.world.deps.coverage.of(rig.workflow.series)
    assert await verified(rig) == Verification(counted=30, gaps=())
    assert await rig.world.deps.coverage.of(rig.workflow.series) == before


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
    assert [(one.first_id, one.last_id) for one in await rig.world.deps.coverage.of(rig.workflow.series)] == [
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
    await rig.world.deps.coverage.expire(rig.workflow.series, TimeRange(at(1), at(20) + 1), 20)
    rig.wait(AGAIN_S)
    assert (await looking).gaps[0].collection == C
    assert [one[2] for one in await known(rig)] == ["expired", "lost", "stored"]
