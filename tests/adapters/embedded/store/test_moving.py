"""A store of an older version: records that lie as documents are read all the same, and are moved into tables."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from streamforge import wiring
from streamforge_utils.adapters.embedded import sqlite
from streamforge_utils.adapters.embedded.datadir import DataDirectory
from streamforge_utils.adapters.embedded.store import collection_files, collection_rows
from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore
from streamforge_utils.model.errors import ConfigError
from streamforge_utils.model.kinds.registry import kind_of, series_of
from streamforge_utils.ports.store import Document
from streamforge_utils.runtime.life.settings import DataSettings
from tests.contracts.store import STALE, STORED, UNCHANGED, outcomes
from tests.contracts.store_records import CANDLES, MINUTE, START, TRADES, made

OLDER = sqlite.Format(collection_rows.FORMAT.holds, collection_rows.FORMAT.migrations[:1])
EVERY = range(10**12)


def make_older(directory: Path, collection: str, documents: Sequence[Document]) -> Path:
    """A collection as the version before has stored it; returns its file."""
    (directory / "documents").mkdir(parents=True, exist_ok=True)
    with closing(sqlite.connect(directory / "documents" / "collections.db", collection_files.FORMAT)) as catalogue:
        number = catalogue.execute("INSERT INTO collections (name) VALUES (?)", (collection,)).lastrowid
    path = directory / "documents" / f"{collection}.{number}.db"
    with closing(sqlite.connect(path, OLDER, page_size=collection_rows.PAGE_SIZE)) as connection:
        connection.execute("INSERT INTO collection (name) VALUES (?)", (collection,))
        connection.execute("BEGIN")
        rows = [(one.key, one.version, one.body) for one in documents]
        connection.executemany("INSERT INTO documents (key, version, body) VALUES (?, ?, ?)", rows)
        connection.execute("COMMIT")
    return path


NOTES = [Document("BTCUSDT_1m_note", 3, b'{"note":1}'), Document("BTCUSDT_000000000009", 3, b'{"no":"trade"}')]


def older_records(count: int = 40) -> list[Document]:
    """Candles, trades and other documents, in no order."""
    candles = made(CANDLES, [START + n * MINUTE for n in range(count)], 5)
    trades = made(TRADES, [n for n in range(count) if n != 9], 6)
    found = [*candles, *trades, *NOTES]
    random.Random(3).shuffle(found)
    return found


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedStore]:
    store = EmbeddedStore(tmp_path)
    yield store
    await store.close()


async def everything(store: EmbeddedStore, collection: str = "older") -> list[Document]:
    return list(await store.read(collection, limit=10**6))


def rows_of(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


@pytest.mark.parametrize("moved", [0, 1, 2, 99])
async def test_however_much_is_moved_the_same_is_read_and_written(
    tmp_path: Path, store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch, moved: int
) -> None:
    monkeypatch.setattr(collection_rows, "MOVED_AT_ONCE", 25)
    documents = older_records()
    path = make_older(tmp_path, "older", documents)
    steps = 0
    while steps < moved and await store.move("older"):
        steps += 1
    assert await everything(store) == sorted(documents, key=lambda one: one.key)
    assert list(await store.keys("older")) == sorted(one.key for one in documents)
    assert await store.count("older") == len(documents)
    candles = range(START, START + 99 * MINUTE)
    assert list(await store.positions("older", CANDLES, candles, limit=99)) == [*candles[: 40 * MINUTE : MINUTE]]
    assert list(await store.values("older", CANDLES, candles, ("open_time", "interval"), limit=2)) == [
        (START, "1m"),
        (START + MINUTE, "1m"),
    ]
    again = made(CANDLES, [START, START + 99 * MINUTE], 4)
    assert outcomes(await store.upsert("older", again)) == [UNCHANGED, STORED]
    assert outcomes(await store.upsert("older", made(TRADES, [1], 5, quantity="7"))) == [STALE]
    assert outcomes(await store.upsert("older", made(TRADES, [2], 7, quantity="7"))) == [STORED]
    assert await store.count("older") == len(documents) + 1
    assert await store.delete("older", first="BTCUSDT_000000000002", last="BTCUSDT_000000000003") == 1
    while await store.move("older"):
        pass
    await store.close()
    assert rows_of(path, "documents") == len(NOTES)
    assert rows_of(path, "records_1") + rows_of(path, "records_2") == len(documents) - len(NOTES)


async def test_a_store_of_an_older_version_is_a_fraction_of_its_size_afterwards(
    tmp_path: Path, store: EmbeddedStore
) -> None:
    documents = list(made(CANDLES, [START + n * MINUTE for n in range(20_000)], 5))
    path = make_older(tmp_path, "older", documents)
    before = path.stat().st_size
    while await store.move("older"):
        pass
    await store.close()
    assert path.stat().st_size < before / 3
    store = EmbeddedStore(tmp_path)
    assert await everything(store) == documents
    assert not await store.move("older"), "a second time there is nothing to do"
    await store.close()


async def test_a_collection_that_is_made_now_has_nothing_to_move(store: EmbeddedStore) -> None:
    await store.upsert("new", NOTES)
    assert not await store.move("new")
    assert not await store.move("nothing")


async def test_an_older_version_refuses_what_a_newer_one_has_opened(tmp_path: Path, store: EmbeddedStore) -> None:
    path = make_older(tmp_path, "older", NOTES)
    assert await store.count("older") == len(NOTES)
    await store.close()
    with pytest.raises(ConfigError, match="written by a newer StreamForge"):
        sqlite.connect(path, OLDER)


def test_the_folder_says_that_an_older_version_cannot_use_it_once_a_manager_held_it(tmp_path: Path) -> None:
    (tmp_path / "format.json").write_text('{"format": 1}')
    directory = DataDirectory(tmp_path)
    directory.open()
    assert json.loads((tmp_path / "format.json").read_text()) == {"format": 1}, "who only reads changes nothing"
    assert not directory.moving()
    for _ in range(2):  # a manager that was killed before all was moved goes on the next time
        with directory.lock():
            assert json.loads((tmp_path / "format.json").read_text()) == {"format": 2, "moving": True}
            assert directory.moving()
    with directory.lock():
        directory.moved()
    assert not directory.moving()
    assert json.loads((tmp_path / "format.json").read_text()) == {"format": 2}


async def test_a_collection_that_is_damaged_stays_as_it_is_and_the_others_are_moved(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    broken = make_older(folder, "broken", older_records())
    make_older(folder, "older", older_records())
    broken.write_bytes(b"no database" * 1000)
    said = list[str]()
    assert not await wiring.move_records(DataSettings(data_dir=tmp_path), said.append)
    assert len(said) == 1
    assert "broken stay where" in said[0]
    assert str(broken) in said[0]
    store = EmbeddedStore(folder)
    assert not await store.move("older"), "it is done"
    assert len(await everything(store)) == len(older_records())
    await store.close()
    broken.unlink()
    assert await wiring.move_records(DataSettings(data_dir=tmp_path), said.append)


@pytest.mark.e2e
def test_however_often_it_is_killed_meanwhile_nothing_is_lost_or_there_twice(tmp_path: Path) -> None:
    documents = older_records(2_000)
    make_older(tmp_path, "older", documents)
    script = (
        "import asyncio, sys; from pathlib import Path;"
        "from streamforge_utils.adapters.embedded.store import collection_rows;"
        "from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore;"
        "collection_rows.MOVED_AT_ONCE = 400\n"
        "async def main():\n"
        "    store = EmbeddedStore(Path(sys.argv[1]))\n"
        "    while await store.move('older'): print('.', flush=True)\n"
        "    await store.close()\n"
        "asyncio.run(main())"
    )
    chance, ended = random.Random(7), 0
    for _ in range(40):
        process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE)
        with process:
            assert process.stdout is not None
            for _ in range(chance.randint(1, 2)):
                if not process.stdout.readline():
                    break
            else:
                process.send_signal(signal.SIGKILL)
        ended = process.returncode
        assert asyncio.run(all_there(tmp_path)) == sorted(documents, key=lambda one: one.key)
        if ended == 0:
            break
    assert ended == 0


async def all_there(directory: Path) -> list[Document]:
    store = EmbeddedStore(directory)
    found = await everything(store)
    await store.close()
    return found


@pytest.mark.long
async def test_five_million_records_are_moved(tmp_path: Path, store: EmbeddedStore) -> None:
    """And are as many afterwards, with the same first, last and middle ones."""
    series = series_of("BTCUSDT", "api_agg_trades")
    kind, count = kind_of(series), 5_000_000
    record = kind.bodies(made(series, [0]).records)[0]
    before, after = record.split(b'"trade_id":0')
    (tmp_path / "documents").mkdir()
    path = make_older(tmp_path, "older", [])
    with closing(sqlite.connect(path, OLDER)) as connection:
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO documents (key, version, body) VALUES (?, 1, ?)",
            ((f"BTCUSDT_{n:012}", before + b'"trade_id":%d' % n + after) for n in range(count)),
        )
        connection.execute("COMMIT")
    sizes = [path.stat().st_size]
    while await store.move("older"):
        pass
    sizes.append(path.stat().st_size)
    assert await store.count("older") == count
    for at in (0, count // 2, count - 1):
        (found,) = await store.fetch("older", [f"BTCUSDT_{at:012}"])
        assert msgspec.json.decode(found.body) == msgspec.json.decode(before + b'"trade_id":%d' % at + after)
    assert sizes[1] < 80 * count
    assert sizes[1] < sizes[0] / 2
