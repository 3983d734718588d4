"""Files of the bus and the store that are broken, newer, locked, or on a full disk: each is named, with what to do."""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from streamforge_utils.adapters.embedded import sqlite
from streamforge_utils.adapters.embedded.backup import back_up
from streamforge_utils.adapters.embedded.bus.embedded_bus import EmbeddedBus
from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore
from streamforge_utils.model.errors import ConfigError, DamagedFile, RetryableError
from streamforge_utils.ports.bus import TopicSpec
from streamforge_utils.ports.store import Document, Edge
from tests.contracts.bus_fixtures import numbered
from tests.limits import LIMIT_S
from tests.places import ROOT


class Data:
    """A bus and a store in one folder, opened again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bus = EmbeddedBus(folder)
        self.store = EmbeddedStore(folder)

    async def send(self) -> None:
        await (await self.bus.producer()).send("topic", numbered(1))

    async def close(self) -> None:
        await self.store.close()
        await self.bus.close()


@pytest.fixture
async def data(tmp_path: Path) -> AsyncIterator[Data]:
    """What was written before: a topic, a document, a state, an edge."""
    before = Data(tmp_path)
    await before.bus.create_topic(TopicSpec(name="topic"))
    await before.store.upsert("candles", [Document("k", 1, b"{}")])
    await before.store.put("workflow", "a", b"{}", expected=None)
    await before.store.link("edges", [Edge("candles/k", "candles/k")])
    await before.close()
    found = Data(tmp_path)
    yield found
    await found.close()


USES: dict[str, Callable[[Data], Awaitable[object]]] = {
    "documents/candles.1.db": lambda data: data.store.keys("candles"),
    "documents/collections.db": lambda data: data.store.names(),
    "states.db": lambda data: data.store.get("workflow", "a"),
    "edges.db": lambda data: data.store.links("edges"),
    "topics/topic/log-*.db": lambda data: data.send(),
    "topics/topic/groups-*.db": lambda data: data.bus.consumer("topic", group="group"),
}


@pytest.mark.parametrize("file", USES)
async def test_a_file_that_is_broken_or_newer_is_named_with_what_to_do(data: Data, file: str) -> None:
    [path] = data.folder.glob(file)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 7")
    for _ in range(2):
        with pytest.raises(ConfigError, match=rf"{path}.*format 7, written by a newer.*use the newer"):
            await USES[file](data)
    path.write_bytes(b"this is no database" * 1000)
    for _ in range(2):
        with pytest.raises(DamagedFile, match=rf"{path}.*broken.*backup.*move it"):
            await USES[file](data)


async def test_a_collection_is_read_whole_within_a_time_and_damage_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_STEPS", 100)
    store = EmbeddedStore(tmp_path)
    body = b'{"x":"%s"}' % (b"x" * 1000)
    await store.upsert("candles", [Document(f"{number:06d}", 1, body) for number in range(3000)])
    assert [await store.check("candles", within_s=s) for s in (LIMIT_S, 0.0, LIMIT_S)] == [True, False, True]
    assert await store.check("nobody", within_s=0.0)
    await store.close()
    [path] = (tmp_path / "documents").glob("candles.*.db")
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 20_000)
    store = EmbeddedStore(tmp_path)
    assert len(await store.read("candles", limit=1)) == 1, "the first documents are whole"
    with pytest.raises(DamagedFile, match=f"cannot read {path}: the file is broken "):
        await store.check("candles", within_s=LIMIT_S)
    await store.close()


@pytest.mark.parametrize(
    ("file", "write"),
    [
        ("topics/topic/log-*.db", lambda data: data.send()),
        ("states.db", lambda data: data.store.put("workflow", "b", b"{}", expected=None)),
    ],
)
async def test_a_file_that_is_locked_for_too_long_is_retryable_and_named(
    data: Data, monkeypatch: pytest.MonkeyPatch, file: str, write: Callable[[Data], Awaitable[object]]
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_LIMIT_S", 0.05)
    [path] = data.folder.glob(file)
    with closing(sqlite3.connect(path, isolation_level=None)) as blocker:
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.raises(RetryableError, match=rf"{path}.*another process holds it"):
            await write(data)
    await write(data)


async def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    data = Data(tmp_path / "file")
    for work in (
        lambda: data.bus.create_topic(TopicSpec(name="topic")),
        lambda: data.store.upsert("candles", [Document("k", 1, b"{}")]),
        lambda: data.store.put("workflow", "a", b"", expected=None),
    ):
        with pytest.raises(ConfigError, match="file"):
            await work()
    await data.close()


FILLS = """
import asyncio, pathlib, resource, sys
from streamforge_utils.adapters.embedded.bus.embedded_bus import EmbeddedBus
from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.ports.bus import Message, TopicSpec
from streamforge_utils.ports.store import Document

async def until_full(write):
    for done in range(1000):
        try:
            await write(done)
        except RetryableError as error:
            print(error)
            return done
    raise AssertionError("the disk was never full")

async def main():
    store, bus = (made(pathlib.Path(sys.argv[1])) for made in (EmbeddedStore, EmbeddedBus))
    body = b'{"x": "' + b"x" * 1000 + b'"}'
    batch = lambda n: [Document(f"k{n:03d}-{i:03d}", 1, body) for i in range(100)]
    await store.upsert("candles", batch(999))
    state = await store.put("workflow", "a", b"{}", expected=None)
    await bus.create_topic(TopicSpec(name="topic"))
    producer = await bus.producer()
    await producer.send("topic", [Message(None, b"first")])
    free = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, free[1]))
    full = await until_full(lambda n: store.upsert("candles", batch(n)))
    assert await store.count("candles") == 100 + full * 100

    revision = None

    async def put(_):
        nonlocal revision
        revision = (await store.put("workflow", "b", b"x" * 50_000, expected=revision)).revision

    await until_full(put)
    found = await store.get("workflow", "b")
    assert (found.revision if found else None) == revision
    sent = await until_full(lambda n: producer.send("topic", [Message(None, b"x" * 200_000)]))
    resource.setrlimit(resource.RLIMIT_FSIZE, free)
    await store.upsert("candles", batch(full))
    assert await store.count("candles") == full * 100 + 200
    await store.put("workflow", "a", b"{}", expected=state.revision)
    await producer.send("topic", [Message(None, b"last")])
    received = []
    consumer = await bus.consumer("topic")
    while fresh := await consumer.poll(1000, 0):
        received += fresh
    assert [len(message.value) for message in received] == [5, *[200_000] * sent, 4], "nothing is half written"
    await store.close()
    await bus.close()

asyncio.run(main())
"""


@pytest.mark.e2e
def test_a_full_disk_is_retryable_named_and_survived(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: SQLite's writes fail in the middle, then work again."""
    done = subprocess.run(
        [sys.executable, "-c", FILLS, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S
    )
    assert done.returncode == 0, done.stderr
    messages = done.stdout.splitlines()
    for message, file in zip(messages, ("documents/candles", "states.db", "topics/topic/log-"), strict=True):
        assert str(tmp_path / file) in message
        assert "disk" in message
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_sqlite_before_3_35_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "format.json").write_text('{"format": 1}')
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.34.1")
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    for use in (
        lambda: EmbeddedBus(tmp_path),
        lambda: EmbeddedStore(tmp_path),
        lambda: sqlite.connect(tmp_path / "file.db"),
        lambda: back_up(tmp_path, tmp_path.with_name("copy"), made_at="2026-01-01T00:00:00Z", made_by="test"),
    ):
        with pytest.raises(ConfigError, match=r"SQLite of this Python .* is 3\.34\.1, .* need 3\.35 or newer"):
            use()
    assert [path.name for path in tmp_path.rglob("*.db*")] == []
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 35, 0))
    sqlite.connect(tmp_path / "file.db").close()
