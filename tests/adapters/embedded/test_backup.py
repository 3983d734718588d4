"""The copy of a data directory: whole, consistent while others write, and refused where it would harm."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from streamforge_utils.adapters.embedded import backup
from streamforge_utils.adapters.embedded.bus.embedded_bus import EmbeddedBus
from streamforge_utils.adapters.embedded.datadir import DataDirectory
from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore
from streamforge_utils.adapters.object_storage.object_folder import ObjectFolder
from streamforge_utils.model.errors import ConfigError, InvalidInput
from streamforge_utils.ports.backup_folder import MANIFEST
from streamforge_utils.ports.bus import Message, TopicSpec
from streamforge_utils.ports.object_store import DamagedObject
from streamforge_utils.ports.store import Document, Edge
from tests.contracts.store_records import CANDLES, made, minutes
from tests.limits import LIMIT_S

MADE: dict[str, Any] = {"made_at": "2024-08-01T00:00:00Z", "made_by": "test"}


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """A data directory with something of each kind, and no manager."""
    folder = tmp_path / "data"
    DataDirectory(folder).open()
    store, bus = EmbeddedStore(folder / "store"), EmbeddedBus(folder / "bus")
    await store.upsert("candles", [Document(f"k{n}", 5, b'{"n":%d}' % n) for n in range(3)])
    await store.upsert("gone", [Document("k", 0, b"{}")])
    await store.drop("gone")
    await store.put("workflow", "wf-1", b'{"status":"finished"}', expected=None, labels={"s": "finished"}, created_ms=7)
    await store.link("edges", [Edge("candles/k1", "candles/k2", b'{"w":1}')])
    await bus.create_topic(TopicSpec(name="queue-events"))
    producer = await bus.producer()
    await producer.send("queue-events", [Message(b"a", b"1"), Message(b"b", b"2")])
    await producer.close()
    reader = await bus.consumer("queue-events", group="reader")
    assert await reader.poll(1, LIMIT_S)
    await reader.commit({0: 1})
    await reader.close()
    await store.close()
    await bus.close()
    (folder / "jobs" / "job-1").mkdir(parents=True)
    (folder / "jobs" / "job-1" / "exit").write_text("0\n")
    (folder / "server.json").write_text("{}")
    return folder


async def _content(folder: Path) -> dict[str, object]:
    store = EmbeddedStore(folder / "store")
    bus = EmbeddedBus(folder / "bus")
    try:
        documents = await store.read("candles")
        state = await store.get("workflow", "wf-1")
        assert state is not None
        reader = await bus.consumer("queue-events", group="reader")
        messages = [(m.offset, m.key, m.value) for m in await reader.poll(10, LIMIT_S)]
        await reader.close()
        assert messages == [(1, b"b", b"2")]
        return {
            "collections": list(await store.names()),
            "documents": [(d.key, d.version, d.body) for d in documents],
            "state": (state.body, dict(state.labels), state.created_ms),
            "edges": list(await store.links("edges")),
            "messages": messages,
            "exit": (folder / "jobs" / "job-1" / "exit").read_text(),
            "ended": (folder / "jobs" / "job-1" / "exit").stat().st_mtime,
        }
    finally:
        await store.close()
        await bus.close()


async def test_what_was_backed_up_comes_back_whole(data: Path, tmp_path: Path) -> None:
    made = backup.back_up(data, tmp_path / "copy", **MADE)
    assert made.documents == {"candles": 3}
    assert made.topics == 1
    before = await _content(data)
    restored = backup.restore(tmp_path / "copy", tmp_path / "other" / "data")
    assert restored == made
    assert await _content(tmp_path / "other" / "data") == before
    names = {path.name for path in (tmp_path / "copy").rglob("*")}
    assert not names & {"server.json", "manager.lock", "bus.lock", "members"}
    assert not [name for name in names if name.endswith(("-wal", "-shm"))]
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o700


async def test_records_in_tables_are_counted_and_come_back(data: Path, tmp_path: Path) -> None:
    store = EmbeddedStore(data / "store")
    await store.upsert("candles", made(CANDLES, minutes(0, 1, 2, 3)))
    before = list(await store.read("candles"))
    await store.close()
    copied = backup.back_up(data, tmp_path / "copy", **MADE)
    assert copied.documents == {"candles": 3 + 4}
    backup.restore(tmp_path / "copy", tmp_path / "other")
    store = EmbeddedStore(tmp_path / "other" / "store")
    assert list(await store.read("candles")) == before
    await store.close()


async def test_a_backup_beside_a_writer_never_calls_stored_what_it_lacks(data: Path, tmp_path: Path) -> None:
    store = EmbeddedStore(data / "store")
    stop, written = asyncio.Event(), 0

    async def write() -> None:
        nonlocal written
        revision = None
        while not stop.is_set():
            await store.upsert("series", [Document(f"k{written:06}", 0, b"{}")])
            written += 1
            state = await store.put("coverage", "series", b"%d" % written, expected=revision)
            revision = state.revision

    writer = asyncio.create_task(write())
    copies = beside = 0
    try:
        while beside < 5:  # on a busy machine a backup may begin and end between two writes
            assert copies < 100
            before = written
            await asyncio.to_thread(backup.back_up, data, tmp_path / f"copy{copies}", **MADE)
            copies += 1
            beside += written > before
    finally:
        stop.set()
        await writer
        await store.close()
    for number in range(copies):
        backup.restore(tmp_path / f"copy{number}", tmp_path / f"data{number}")
        copied = EmbeddedStore(tmp_path / f"data{number}" / "store")
        state = await copied.get("coverage", "series")
        assert (int(state.body) if state else 0) <= await copied.count("series") <= written
        await copied.close()


async def test_nothing_is_overwritten(data: Path, tmp_path: Path) -> None:
    backup.back_up(data, tmp_path / "copy", **MADE)
    with pytest.raises(InvalidInput, match="copy exists: a backup goes into a new folder"):
        backup.back_up(data, tmp_path / "copy", **MADE)
    with pytest.raises(InvalidInput, match="is not empty: move it away first"):
        backup.restore(tmp_path / "copy", data)
    with pytest.raises(InvalidInput, match="is no data directory of StreamForge"):
        backup.back_up(tmp_path / "nowhere", tmp_path / "copy2", **MADE)
    with DataDirectory(tmp_path / "held").lock(), pytest.raises(InvalidInput, match="a manager works on"):
        backup.restore(tmp_path / "copy", tmp_path / "held")
    assert sorted(os.listdir(tmp_path)) == ["copy", "data", "held"]


async def test_a_damaged_backup_is_refused_and_leaves_nothing(data: Path, tmp_path: Path) -> None:
    backup.back_up(data, tmp_path / "copy", **MADE)
    file = tmp_path / "copy" / "data" / "jobs" / "job-1" / "exit"
    file.write_text("1\n")
    with pytest.raises(ConfigError, match="job-1/exit is damaged"):
        backup.restore(tmp_path / "copy", tmp_path / "new")
    file.unlink()
    with pytest.raises(ConfigError, match="job-1/exit is missing"):
        backup.restore(tmp_path / "copy", tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format 2; this version of StreamForge knows up to 1"),
        ({"files": {"../out": {"bytes": 1, "sha256": ""}}}, "is no file of a data directory"),
        ({"files": 3}, "is damaged"),
    ],
)
async def test_a_manifest_that_cannot_be_followed_is_refused(
    data: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    backup.back_up(data, tmp_path / "copy", **MADE)
    manifest = tmp_path / "copy" / MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))
    with pytest.raises(ConfigError, match=message):
        backup.restore(tmp_path / "copy", tmp_path / "new")


async def test_a_broken_database_is_told_instead_of_copied(data: Path, tmp_path: Path) -> None:
    path = next((data / "store" / "documents").glob("candles.*.db"))
    content = bytearray(path.read_bytes())
    content[100:4000] = b"\xff" * 3900
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="candles"):
        backup.back_up(data, tmp_path / "copy", **MADE)
    assert not (tmp_path / "copy").exists()


SEGMENT = ("depth/BTCUSDT/000000000001.json", "depth/BTCUSDT/000000000001.jsonl.gz")


async def _read(objects: ObjectFolder, name: str) -> bytes:
    return b"".join([block async for block in objects.get(name)])


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_objects_come_back_with_their_checksums_wherever_they_lay(
    data: Path, tmp_path: Path, elsewhere: bool
) -> None:
    folder = tmp_path / "there" if elsewhere else data / "objects"
    for name in SEGMENT:
        await ObjectFolder(folder).put(name, name.encode())
    (folder / ".drafts" / "half").write_bytes(b"what is being written")
    made = backup.back_up(data, tmp_path / "copy", **MADE, objects=folder)
    assert [name for name in made.files if "half" in name] == []
    backup.restore(tmp_path / "copy", tmp_path / "again")
    again = ObjectFolder(tmp_path / "again" / "objects")
    assert [one.name async for one in again.list()] == list(SEGMENT)
    assert [await _read(again, name) for name in SEGMENT] == [name.encode() for name in SEGMENT]
    (tmp_path / "again" / "objects" / SEGMENT[1]).write_bytes(b"something else")
    with pytest.raises(DamagedObject):
        await _read(again, SEGMENT[1])


async def test_an_object_that_is_replaced_while_it_is_copied_is_whole(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects, copy2 = ObjectFolder(data / "objects"), shutil.copy2
    await objects.put(SEGMENT[1], b"first")
    replaced: list[Path] = []

    def copying(source: Path, target: Path) -> None:
        copy2(source, target)
        if str(source).endswith(SEGMENT[1]) and not replaced:
            replaced.append(source)
            asyncio.run(objects.put(SEGMENT[1], b"second"))

    monkeypatch.setattr("streamforge_utils.adapters.embedded.backup.shutil.copy2", copying)
    await asyncio.to_thread(backup.back_up, data, tmp_path / "copy", **MADE, objects=data / "objects")
    monkeypatch.undo()
    assert replaced
    assert await _read(ObjectFolder(tmp_path / "copy" / "data" / "objects"), SEGMENT[1]) == b"first"


async def test_without_a_folder_of_objects_there_are_none(data: Path, tmp_path: Path) -> None:
    made = backup.back_up(data, tmp_path / "copy", **MADE, objects=tmp_path / "nowhere")
    assert [name for name in made.files if name.startswith("objects/")] == []
