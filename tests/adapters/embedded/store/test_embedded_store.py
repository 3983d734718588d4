"""The embedded store: what only it can promise, on its files, and what it costs to find states where there are many."""

# ruff: noqa: ASYNC240 - the files are small

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from streamforge_utils.adapters.embedded import sqlite
from streamforge_utils.adapters.embedded.store import collection_rows, state_rows
from streamforge_utils.adapters.embedded.store.collection_files import OPEN_LIMIT
from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore
from streamforge_utils.model.errors import ConfigError, PermanentError
from streamforge_utils.ports.store import Document, Edge, Outcome
from tests.doubles.observer import RecordingObserver
from tests.limits import LIMIT_S


def documents(*keys: str, version: int = 1) -> list[Document]:
    return [Document(key, version, b'{"v": %d}' % version) for key in keys]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "store"


async def written(directory: Path) -> None:
    """One document and one state; everything closed."""
    store = EmbeddedStore(directory)
    await store.upsert("candles", documents("k"))
    await store.put("workflow", "a", b"{}", expected=None, labels={"s": "1"})
    await store.close()


@pytest.fixture
async def store(directory: Path) -> AsyncIterator[EmbeddedStore]:
    store = EmbeddedStore(directory)
    yield store
    await store.close()


def file_of(directory: Path, collection: str) -> Path:
    (path,) = (directory / "documents").glob(f"{collection}.*.db")
    return path


async def test_an_older_format_is_migrated(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await written(directory)
    for module in (collection_rows, state_rows):
        holds, migrations = module.FORMAT
        monkeypatch.setattr(module, "FORMAT", sqlite.Format(holds, [*migrations, ["CREATE TABLE added (x)"]]))
    store = EmbeddedStore(directory)
    assert list(await store.keys("candles")) == ["k"]
    assert (await store.find("workflow", where={"s": ["1"]}))[0].id == "a"
    await store.close()
    for file, version in (("documents/candles.1.db", 3), ("states.db", 2)):
        connection = sqlite3.connect(directory / file)
        assert connection.execute("PRAGMA user_version").fetchone() == (version,)
        assert connection.execute("SELECT count(*) FROM added").fetchone() == (0,)
        connection.close()


async def test_a_broken_collection_can_be_dropped_and_the_others_work(store: EmbeddedStore, directory: Path) -> None:
    await written(directory)
    await store.upsert("other", documents("o"))
    file_of(directory, "candles").write_bytes(b"this is no database" * 1000)
    with pytest.raises(ConfigError):
        await store.upsert("candles", documents("k"))
    assert list(await store.keys("other")) == ["o"]
    await store.drop("candles")
    assert list(await store.names()) == ["other"]
    assert (await store.upsert("candles", documents("k")))[0].outcome is Outcome.STORED


async def test_a_body_is_read_as_the_bytes_that_were_stored(store: EmbeddedStore) -> None:
    body = b'{"b": 1.50, "a":[1,  2], "text": "\xc3\xa9"}'
    await store.upsert("candles", [Document("k", 1, body)])
    assert [document.body for document in await store.read("candles")] == [body]
    await store.link("edges", [Edge("x/a", "x/b", body)])
    assert [edge.body for edge in await store.links("edges")] == [body]


async def test_a_collection_whose_file_is_gone_or_whose_drop_was_cut_short_is_empty(
    store: EmbeddedStore, directory: Path
) -> None:
    await written(directory)
    file_of(directory, "candles").unlink()  # by hand
    assert list(await store.keys("candles")) == []
    assert (await store.upsert("candles", documents("new")))[0].outcome is Outcome.STORED
    assert list(await store.keys("candles")) == ["new"]
    path = file_of(directory, "candles")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE collection SET dropped = 1")
    assert list(await store.keys("candles")) == []
    assert not path.exists()
    assert list(await store.names()) == []
    await store.upsert("candles", documents("newer"))
    assert list(await store.keys("candles")) == ["newer"]
    assert await store.count("candles") == 1
    with closing(sqlite3.connect(file_of(directory, "candles"))) as connection, connection:
        connection.execute("UPDATE collection SET dropped = 1")
    assert await store.count("candles") == 0
    assert list(await store.names()) == []


async def test_nothing_is_written_into_a_file_that_was_unlinked(store: EmbeddedStore, directory: Path) -> None:
    """It was dropped between our opening of the file and of its log: the mark is not seen, the file is gone."""
    await store.upsert("candles", documents("old"))
    opened = sqlite.connect

    def unlinked_meanwhile(path: Path, *options: object, **more: object) -> sqlite3.Connection:
        connection = opened(path, *options, **more)  # type: ignore[arg-type]
        if path.name.startswith("candles.1."):
            sqlite.remove(path)
        return connection

    other = EmbeddedStore(directory)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite, "connect", unlinked_meanwhile)
        await other.upsert("candles", documents("new"))
    third = EmbeddedStore(directory)
    assert list(await third.keys("candles")) == ["new"]
    await other.close()
    await third.close()


async def test_neither_a_dropped_collection_nor_a_closed_store_leaves_a_file_behind(directory: Path) -> None:
    for serial in range(40):  # the two connections of a file would close at the same moment now and then
        store = EmbeddedStore(directory / str(serial))
        await store.upsert("candles", documents("k"))
        await store.upsert("dropped", documents("k"))
        assert await store.count("candles") == await store.count("dropped") == 1
        await store.drop("dropped")
        await store.put("kind", "name", b"1", expected=None)
        assert await store.get("kind", "name") is not None
        await store.close()
    assert {path.name for path in directory.rglob("*.db*")} == {"collections.db", "candles.1.db", "states.db"}


async def test_any_number_of_collections_may_be_used(store: EmbeddedStore, directory: Path) -> None:
    names = [f"c{serial:03d}" for serial in range(OPEN_LIMIT * 2 + 3)]
    for name in names:
        await store.upsert(name, documents(name))
    for name in (*names, *reversed(names)):
        assert list(await store.keys(name)) == [name]
    assert list(await store.names()) == names
    open_files = {path.resolve() for path in Path("/proc/self/fd").iterdir()}
    held = {path.name for path in open_files if path.parent == directory / "documents" and path.suffix == ".db"}
    assert len(held) <= 2 * OPEN_LIMIT + 1


async def test_a_reader_does_not_wait_for_a_writer(store: EmbeddedStore, directory: Path) -> None:
    await store.upsert("candles", documents("a"))
    blocker = sqlite3.connect(file_of(directory, "candles"), isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    writing = asyncio.create_task(store.upsert("candles", documents("b")))
    async with asyncio.timeout(LIMIT_S):
        assert list(await store.keys("candles")) == ["a"]
        await store.put("workflow", "a", b"{}", expected=None)
    assert not writing.done()
    blocker.execute("ROLLBACK")
    blocker.close()
    async with asyncio.timeout(LIMIT_S):
        await writing
    assert list(await store.keys("candles")) == ["a", "b"]


async def test_a_cancelled_write_is_whole_and_does_not_disturb_the_next(store: EmbeddedStore) -> None:
    task = asyncio.create_task(store.upsert("candles", documents(*(f"k{n:04d}" for n in range(3000)))))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store.upsert("candles", documents("z"))
    assert await store.count("candles") in (1, 3001)


async def test_of_two_contents_of_one_moment_the_later_is_kept_and_a_version_that_is_no_time_refused(
    store: EmbeddedStore,
) -> None:
    await store.upsert("candles", [Document("k", 5, b'{"v": 1}')])
    (answer,) = await store.upsert("candles", [Document("k", 5, b'{"v": 2}')])
    assert answer.outcome is Outcome.STORED
    assert [d.body for d in await store.read("candles")] == [b'{"v": 2}']
    for version in (-1, 2**63, 2**70):
        (answer,) = await store.upsert("candles", [Document("bad", version, b"{}")])
        assert answer.outcome is Outcome.REFUSED
        assert "version" in answer.reason


async def test_outcomes_are_counted(directory: Path) -> None:
    observer = RecordingObserver()
    store = EmbeddedStore(directory, observer=observer)
    await store.upsert("candles", documents("a", "b", version=2))
    first_s = observer.counts["store_write_seconds"]
    await store.upsert("candles", [*documents("a", version=1), *documents("b", version=2), *documents("", "c")])
    await store.close()
    assert observer.counts.pop("store_write_seconds") > first_s > 0
    assert observer.counts == {
        "store_documents{outcome=stored}": 3,
        "store_documents{outcome=stale}": 1,
        "store_documents{outcome=unchanged}": 1,
        "store_documents{outcome=refused}": 1,
    }


async def test_closing_finishes_what_was_begun_and_ends_the_use(directory: Path) -> None:
    store = EmbeddedStore(directory)
    writing = asyncio.create_task(store.upsert("candles", documents("a")))
    await asyncio.sleep(0)
    await store.close()
    await store.close()
    assert (await writing)[0].outcome is Outcome.STORED
    with pytest.raises(PermanentError, match="closed"):
        await store.keys("candles")
    assert not list(directory.rglob("*-wal"))


async def test_a_store_that_was_never_used_makes_nothing(directory: Path) -> None:
    store = EmbeddedStore(directory)
    await store.close()
    assert not directory.exists()


async def test_a_flush_brings_what_another_store_has_written_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, store = EmbeddedStore(tmp_path / "store"), EmbeddedStore(tmp_path / "store")
    await store.keys("c")
    await writer.upsert("c", [Document("k", 1, b"{}")])
    (path,) = (tmp_path / "store" / "documents").glob("c.*.db")
    synced: list[str] = []
    real = os.fsync

    def fsync(number: int) -> None:
        name = Path(os.readlink(f"/proc/self/fd/{number}") if sys.platform == "linux" else f"{path}-wal")
        synced.append(name.name)
        if name.name.endswith("-wal"):  # what a power cut right now would leave
            after = tmp_path / "after"
            after.mkdir()
            shutil.copy(path, after)
            shutil.copy(name, after)
        real(number)

    monkeypatch.setattr(os, "fsync", fsync)
    await store.flush("c")
    assert set(synced) >= {f"{path.name}-wal", "documents"}
    with closing(sqlite3.connect(tmp_path / "after" / path.name)) as left:
        assert left.execute("SELECT key FROM documents").fetchall() == [("k",)]
    monkeypatch.undo()
    await writer.close()
    await store.close()


QUESTIONS: list[dict[str, list[str]]] = [
    {},
    {"status": ["running", "error"]},
    {"status": ["running", "finished", "error"], "type": ["x"]},
    {"symbol": [f"S{n}" for n in range(0, 50, 2)], "status": ["error"], "type": ["x", "y"]},
    {"symbol": ["S1", "S2"], "status": ["none"]},
]
STEPS = 100
"""Between two counts."""


async def filled(directory: Path, count: int, *, symbols: int = 50) -> EmbeddedStore:
    """A store of `count` states, of so many symbols."""
    store = EmbeddedStore(directory)
    await store.put("workflow", "wf", b"{}", expected=None)
    with closing(sqlite3.connect(directory / "states.db")) as connection, connection:
        for serial in range(count):
            labels = {
                "status": ("running", "finished", "error")[serial % 3],
                "symbol": f"S{serial % symbols}",
                "type": "x",
            }
            id = f"wf-{serial:05d}"
            connection.execute(
                "INSERT INTO states (kind, id, revision, created_ms, labels, body) "
                "VALUES ('workflow', ?, ?, ?, '{}', ?)",
                (id, serial + 10, serial, b"{}" * 500),
            )
            connection.executemany(
                "INSERT INTO labels (kind, name, value, created_ms, id) VALUES ('workflow', ?, ?, ?, ?)",
                [(*label, serial, id) for label in labels.items()],
            )
    await store.close()
    return EmbeddedStore(directory)


@pytest.mark.parametrize("number", range(len(QUESTIONS)))
async def test_finding_grows_with_the_states_asked_about_and_not_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Counted in steps of SQLite, which no busy machine changes."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += STEPS
        return 0

    connect = sqlite.connect

    def counted(path: Path, *options: object, **more: object) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(path, *options, **more)  # type: ignore[arg-type] # of any kind
        connection.set_progress_handler(count, STEPS)
        return connection

    monkeypatch.setattr(sqlite, "connect", counted)
    costs = {}
    for states in (1000, 10_000):
        store = await filled(tmp_path / str(states), states)
        for after in (None, "wf-00500"):
            await store.find("workflow", where=QUESTIONS[number], after=after)  # opens the file
            steps = 0
            await store.find("workflow", where=QUESTIONS[number], after=after)
            costs[states, after] = steps
        await store.close()
    for after in (None, "wf-00500"):
        assert costs[10_000, after] < 11 * costs[1000, after] + 1000
        if not QUESTIONS[number]:
            assert costs[10_000, after] == costs[1000, after]


async def test_what_begins_so_is_one_walk_however_many_values_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements: list[str] = []
    connect = sqlite.connect

    def traced(path: Path, *options: object, **more: object) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(path, *options, **more)  # type: ignore[arg-type] # of any kind
        connection.set_trace_callback(statements.append)
        return connection

    monkeypatch.setattr(sqlite, "connect", traced)
    counts = set()
    for symbols in (10, 1000):
        store = await filled(tmp_path / str(symbols), 1000, symbols=symbols)
        begins = {"symbol": ["S", "s"]}
        for where in ({}, {"status": ["error"]}):
            await store.find("workflow", limit=1)  # opens the file
            statements.clear()
            assert len(await store.find("workflow", where=where, begins=begins, limit=3)) == 3
            found = await store.tally("workflow", "status", where=where, begins=begins)
            assert sum(found.values()) == (333 if where else 1000)
            walks = [one for one in statements if "FROM labels" in one]
            counts.add((len(where), len(walks)))
        await store.close()
    # Each looks first how many states fit each label; a count by the label with one value also, how many there are.
    assert counts == {(0, 4), (1, 7)}
