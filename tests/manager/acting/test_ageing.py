"""Old collections are exported, then dropped; what is used, unknown or young stays."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamforge.manager.acting.ageing import EVERY_S, Ageing
from streamforge.manager.parts import Parts
from streamforge.manager.retention import Keep, kept_ms
from streamforge.manager.settings import load_manager
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import ConfigError, RetryableError
from streamforge_utils.model.series import Series
from streamforge_utils.ports.store import Document
from tests.doubles.manualclock import ManualClock
from tests.manager.acting.world import create
from tests.manager.support import DAY_MS, DAY_START, NOW, World, planned

SERIES = Series("BTCUSDT", "candles", "1m")
OLD, YOUNG, FOREIGN = "btcusdt_api_candles_1m_2024_08_01", "btcusdt_api_candles_1m_2024_08_09", "somebody_elses"
KEPT = [{"_key": f"k{n}", "_version": 1, "n": n} for n in range(3)]


@pytest.fixture
def parts(world: World, tmp_path: Path) -> Parts:
    """A world (ten days after its day) that keeps nothing longer than five days; two collections are covered."""
    policy = msgspec.structs.replace(
        world.parts.policy, retention=(Keep("*_1m_*", 5),), retention_dir=tmp_path / "kept"
    )
    return msgspec.structs.replace(world.parts, policy=policy)


async def fill(world: World, name: str, start_ms: int, *, covered: bool = True) -> None:
    await world.store.upsert(name, [Document(f"k{n}", 1, b'{"n":%d}' % n) for n in range(3)])
    if covered:
        stored = Segment(
            start_ms=start_ms, end_ms=start_ms + DAY_MS, verdict=Verdict.STORED, collection=name, records=3
        )
        await world.parts.coverage.lay_over(SERIES, [stored])


def lines(path: Path) -> list[object]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def files(parts: Parts) -> list[str]:
    assert parts.policy.retention_dir is not None
    return sorted(path.name for path in parts.policy.retention_dir.iterdir())


async def test_what_is_old_is_exported_then_dropped_and_no_longer_covered(world: World, parts: Parts) -> None:
    await fill(world, OLD, DAY_START)
    await fill(world, YOUNG, NOW - 2 * DAY_MS)
    await fill(world, FOREIGN, DAY_START, covered=False)
    await Ageing(parts).age()
    assert sorted(await world.store.names()) == sorted([YOUNG, FOREIGN])
    (kept,) = (parts.policy.retention_dir or Path()).iterdir()
    assert kept.name == f"{OLD}.jsonl.gz"
    assert lines(kept) == KEPT
    assert [segment.collection for segment in await world.parts.coverage.of(SERIES)] == [YOUNG]


async def test_a_collection_is_as_old_as_its_newest_record(world: World, parts: Parts) -> None:
    await fill(world, OLD, DAY_START)
    await fill(world, OLD, NOW - 2 * DAY_MS)
    await Ageing(parts).age()
    assert list(await world.store.names()) == [OLD]
    assert len(await world.parts.coverage.of(SERIES)) == 2


@pytest.mark.parametrize(("younger_ms", "left"), [(0, []), (1, [OLD])])
async def test_records_are_kept_until_the_newest_has_the_age_of_the_policy(
    younger_ms: int, left: list[str], world: World, parts: Parts
) -> None:
    await fill(world, OLD, NOW - 6 * DAY_MS + younger_ms)  # a day long, so its end is five days old
    await Ageing(parts).age()
    assert list(await world.store.names()) == left


async def test_a_file_that_is_there_is_not_overwritten(world: World, parts: Parts) -> None:
    folder = parts.policy.retention_dir
    assert folder is not None
    for _ in range(2):
        await fill(world, OLD, DAY_START)
        await Ageing(parts).age()
    assert sorted(path.name for path in folder.iterdir()) == [f"{OLD}.2.jsonl.gz", f"{OLD}.jsonl.gz"]


async def test_what_a_workflow_uses_stays(world: World, parts: Parts) -> None:
    await fill(world, OLD, DAY_START)
    workflow = planned()
    assert workflow.collection == OLD
    await create(world, workflow)
    await Ageing(parts).age()
    assert list(await world.store.names()) == [OLD]


async def test_what_cannot_be_exported_stays(world: World, parts: Parts, tmp_path: Path) -> None:
    await fill(world, OLD, DAY_START)
    (tmp_path / "kept").write_text("a file where the folder should be")
    await Ageing(parts).age()
    assert list(await world.store.names()) == [OLD]
    assert await world.parts.coverage.of(SERIES)


@pytest.mark.parametrize(
    "late",
    [
        pytest.param(Document("a", 1, b"{}"), id="one more"),
        pytest.param(Document("k1", 2, b'{"n":7}'), id="one replaced"),
        pytest.param(Document("k1", 2, b'{"n":1}'), id="one seen again"),
    ],
)
async def test_what_changes_while_it_is_exported_stays(
    late: Document, world: World, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(world, OLD, DAY_START)
    read = world.store.read

    async def changing(collection: str, *, first: str = "", last: str | None = None, limit: int = 1000) -> Any:
        page = await read(collection, first=first, last=last, limit=limit)
        await world.store.upsert(collection, [late])
        return page

    monkeypatch.setattr(world.store, "read", changing)
    await Ageing(parts).age()
    assert list(await world.store.names()) == [OLD]
    assert files(parts) == []


async def test_no_files_pile_up_while_a_collection_cannot_be_read_or_dropped(
    world: World, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(world, OLD, DAY_START)

    async def fail(*_: object, **__: object) -> None:
        raise RetryableError("it does not answer")

    clock = parts.clock
    assert isinstance(clock, ManualClock)
    ageing = Ageing(parts)
    for part, left in (("read", 0), ("drop", 1)):
        with monkeypatch.context() as patch:
            patch.setattr(world.store, part, fail)
            for _ in range(3):
                await ageing.age()
                assert len(files(parts)) == left  # a drop that failed may be carried out later: one copy stays
                clock.advance(EVERY_S)
        assert list(await world.store.names()) == [OLD]
    await ageing.age()
    assert list(await world.store.names()) == []
    (kept,) = files(parts)
    assert lines((parts.policy.retention_dir or Path()) / kept) == KEPT


async def test_a_file_that_holds_something_else_stays(
    world: World, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The drop was carried out after its time, and somebody filled the collection again."""
    await fill(world, OLD, DAY_START)
    clock = parts.clock
    assert isinstance(clock, ManualClock)
    ageing = Ageing(parts)

    async def fail(collection: str) -> None:
        raise RetryableError("it does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(world.store, "drop", fail)
        await ageing.age()
    await world.store.drop(OLD)
    await world.store.upsert(OLD, [Document("other", 1, b'{"n":9}')])
    clock.advance(EVERY_S)
    await ageing.age()
    assert files(parts) == [f"{OLD}.2.jsonl.gz", f"{OLD}.jsonl.gz"]


async def test_a_drop_whose_answer_got_lost_is_brought_to_its_end(world: World, parts: Parts) -> None:
    clock = parts.clock
    assert isinstance(clock, ManualClock)
    await fill(world, OLD, DAY_START)
    drop = world.store.drop

    async def cut(collection: str) -> None:
        await drop(collection)
        raise RetryableError("the answer got lost")

    world.store.drop = cut  # type: ignore[method-assign]
    ageing = Ageing(parts)
    await ageing.age()
    assert files(parts) == [f"{OLD}.jsonl.gz"]  # the only place where the records are now
    assert await world.parts.coverage.of(SERIES) == (), "it was struck before the drop"
    assert len((await world.parts.coverage.known(SERIES)).leftovers) == 1
    await ageing.age()  # not before an hour is over
    assert len((await world.parts.coverage.known(SERIES)).leftovers) == 1
    clock.advance(EVERY_S)
    await ageing.age()
    assert (await world.parts.coverage.known(SERIES)).leftovers == ()


@pytest.mark.parametrize(("name", "days"), [("a_1m_x", 5), ("a_1h_x", 7), ("other", None)])
def test_the_first_pattern_that_matches_counts(name: str, days: int | None) -> None:
    keeps = (Keep.parse_setting("*_1m_*=5"), Keep.parse_setting("a_*=7d"))
    assert kept_ms(keeps, name) == (None if days is None else days * DAY_MS)


@pytest.mark.parametrize("text", ["", "5", "x=", "x=0", "x=-1", "=5", "x=y"])
def test_a_malformed_policy_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="PATTERN=DAYS"):
        Keep.parse_setting(text)


def test_nothing_is_dropped_unexported() -> None:
    environ = {"STREAMFORGE_DATA_DIR": "/nowhere", "STREAMFORGE_RETENTION": "*=30"}
    with pytest.raises(ConfigError, match="STREAMFORGE_RETENTION_DIR is missing"):
        load_manager(environ)
    policy = load_manager({**environ, "STREAMFORGE_RETENTION_DIR": "/kept"}).policy
    assert (policy.retention, policy.retention_dir) == ((Keep("*", 30),), Path("/kept"))
