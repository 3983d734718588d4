"""Old segments go, and are `expired` then; files without a manifest go once they are old; all else stays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamforge.manager.books.store import BookReader
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.refusals import NotFound
from streamforge.manager.retention.driver import Retention
from streamforge.manager.retention.segment_retention import LOOK_EVERY_S, SegmentRetention
from streamforge_utils.model.books.segments import CONTENT, MANIFEST
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import RetryableError
from tests.doubles.manualclock import ManualClock
from tests.doubles.stored_books import COLLECTION, SERIES, StoredBooks, at_ms
from tests.manager.execution.world import retain
from tests.manager.support import DAY_MS, World

DAYS = 30


class Kept:
    """Four segments of five seconds each, the first and the last minute covered; nothing is old yet."""

    def __init__(self, world: World, folder: Path) -> None:
        self.folder = folder
        self.stored = StoredBooks(world.store, folder)
        policy = msgspec.structs.replace(world.deps.policy, segment_days=DAYS)
        self.deps = msgspec.structs.replace(world.deps, policy=policy, objects=self.stored.objects)
        self.names: list[str] = []

    async def fill(self) -> None:
        self.names = [await self.stored.segment(one, one + 49) for one in (1, 51, 101, 151)]
        await self.stored.checkpoint(10)
        await self.stored.entry(1, 200)
        stored = Segment(start_ms=at_ms(0), end_ms=at_ms(80), verdict=Verdict.STORED, collection=COLLECTION)
        lost = Segment(start_ms=at_ms(80), end_ms=at_ms(90), verdict=Verdict.LOST, cause="disconnect")
        await self.deps.coverage.lay_over(SERIES, [stored, lost])
        self.age(100)

    def age(self, last_id: int) -> None:
        """The diffs up to this update are just old enough."""
        clock = self.deps.clock
        assert isinstance(clock, ManualClock)
        clock.advance((at_ms(last_id) + 1 + DAYS * DAY_MS - clock.now_ms()) / 1000)

    async def there(self) -> list[str]:
        return [one.name async for one in self.stored.objects.list()]

    async def verdicts(self) -> list[tuple[str, int, int, str | None]]:
        base = at_ms(0)
        return [
            (str(one.verdict), (one.start_ms - base) // 100, (one.end_ms - base) // 100, one.collection)
            for one in await self.deps.coverage.of(SERIES)
        ]


@pytest.fixture
async def kept(world: World, tmp_path: Path) -> Kept:
    found = Kept(world, tmp_path / "objects")
    await found.fill()
    return found


def files(names: Sequence[str]) -> list[str]:
    """Manifests and their files."""
    return [one for name in names for one in (name, name.removesuffix(MANIFEST) + CONTENT)]


async def test_old_segments_go_and_what_was_stored_of_their_time_is_expired(kept: Kept) -> None:
    retention = SegmentRetention(kept.deps)
    await retention.apply()
    assert await kept.there() == files(kept.names[2:])
    assert await kept.verdicts() == [
        ("stored", 0, 5, COLLECTION),
        ("expired", 5, 80, COLLECTION),
        ("lost", 80, 90, None),
        ("expired", 90, 105, None),
    ]
    kept.age(150)
    await retention.apply()
    assert kept.names[2] in await kept.there(), "it looks once an hour"
    kept.deps.clock.advance(LOOK_EVERY_S)  # type: ignore[attr-defined]
    await retention.apply()
    assert await kept.there() == []


async def test_the_managers_retention_removes_them(kept: Kept, world: World) -> None:
    await retain(Retention(kept.deps, world.reconciler.executor, world.reconciler.inbox))
    assert await kept.there() == files(kept.names[2:])


async def test_a_segment_is_kept_until_its_newest_diff_is_so_old(kept: Kept) -> None:
    kept.deps.clock.advance(-0.001)  # type: ignore[attr-defined]
    await SegmentRetention(kept.deps).apply()
    assert await kept.there() == files(kept.names[1:])


async def test_a_book_of_that_time_is_expired_and_the_whole_books_stay(kept: Kept) -> None:
    deps = kept.deps
    reader = BookReader(deps.store, kept.stored.objects, deps.coverage, deps.workflows)
    now_ms = deps.clock.now_ms()
    assert (await reader.at("BTCUSDT", at_ms(30), now_ms)).book.verified
    await SegmentRetention(deps).apply()
    found = await reader.at("BTCUSDT", at_ms(30), now_ms)
    assert (found.book.trust, found.book.why, found.verdict) == (None, "expired", Verdict.EXPIRED)
    assert (await reader.at("BTCUSDT", at_ms(10), now_ms)).book.verified
    await deps.store.drop(COLLECTION)
    await kept.stored.checkpoint(120)
    with pytest.raises(NotFound, match=r"what was stored of that moment is expired \(retention\)"):
        await reader.at("BTCUSDT", at_ms(30), now_ms)


@pytest.mark.parametrize("dies_at", range(4))
async def test_it_goes_on_where_it_was_cut_short(kept: Kept, monkeypatch: pytest.MonkeyPatch, dies_at: int) -> None:
    """Coverage first, then the manifest, then the file; what is left of them goes the next time, or as an orphan."""
    delete, calls = kept.stored.objects.delete, 0

    async def dying(names: Sequence[str]) -> None:
        nonlocal calls
        calls += 1
        if calls > dies_at:
            raise RetryableError("gone")
        await delete(names)

    monkeypatch.setattr(kept.stored.objects, "delete", dying)
    await SegmentRetention(kept.deps).apply()
    there = await kept.there()
    expired = [one for one in await kept.verdicts() if one[0] == "expired"]
    assert len(expired) >= 1
    for name in kept.names[:2]:
        assert not (name in there and name.removesuffix(MANIFEST) + CONTENT not in there)
    monkeypatch.undo()
    for path in kept.folder.rglob("*.gz"):
        os.utime(path, (0, 0))
    await SegmentRetention(kept.deps).apply()
    assert await kept.there() == files(kept.names[2:])


async def test_a_file_without_a_manifest_goes_once_it_is_a_day_old(kept: Kept, world: World) -> None:
    deps: Dependencies = msgspec.structs.replace(kept.deps, policy=world.deps.policy)  # segments stay for ever
    orphan, young = (name.removesuffix(MANIFEST) + CONTENT for name in kept.names[:2])
    await kept.stored.objects.delete(kept.names[:2])
    _touch(kept.folder / orphan, deps.clock.now_ms() - DAY_MS - 1000)
    _touch(kept.folder / young, deps.clock.now_ms() - DAY_MS + 60_000)
    await SegmentRetention(deps).apply()
    assert await kept.there() == sorted([young, *files(kept.names[2:])])


def _touch(path: Path, time_ms: int) -> None:
    os.utime(path, (time_ms / 1000, time_ms / 1000))


async def test_a_damaged_manifest_keeps_no_other_segment(kept: Kept, world: World) -> None:
    other: Any = "depth/ETHUSDT/000000000001.json"
    manifest = b"".join([block async for block in kept.stored.objects.get(kept.names[0])])
    await kept.stored.objects.put(other, manifest.replace(b"BTCUSDT", b"ETHUSDT"))
    await kept.stored.objects.put("depth/readme.txt", b"not ours")
    await kept.stored.objects.put(kept.names[0], b"{}")
    await SegmentRetention(kept.deps).apply()
    there = await kept.there()
    assert other not in there
    assert [one for one in there if one in kept.names] == [kept.names[0], *kept.names[2:]]
    assert world.observer.counts["action_failures_total{action=Age}"] == 1


@pytest.mark.parametrize(("last_id", "first_expired"), [(50, 55), (45, 5)])
async def test_what_the_collection_has_too_is_not_expired(kept: Kept, last_id: int, first_expired: int) -> None:
    """All diffs of the first segment; or all but one, so that nothing is whole."""
    await kept.stored.stored_diffs(kept.stored.diffs(1, last_id))
    await SegmentRetention(kept.deps).apply()
    assert await kept.there() == files(kept.names[2:])
    assert (await kept.verdicts())[:2] == [
        ("stored", 0, first_expired, COLLECTION),
        ("expired", first_expired, 80, COLLECTION),
    ]
