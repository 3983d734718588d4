"""SQLite's errors become ours and say what to do; formats are migrated upwards and refused downwards."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamforge_utils.adapters.embedded import sqlite
from streamforge_utils.model.errors import ConfigError, DamagedFile

FIRST = (
    "CREATE TABLE things (name TEXT)",
    "INSERT INTO things VALUES ('first')",
    "CREATE TABLE unique_things (number UNIQUE)",
)
SECOND = ("ALTER TABLE things ADD COLUMN size INTEGER DEFAULT 3",)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "things with a ? and a %.db"


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite.connect(path, sqlite.Format("box", (FIRST,)))
    yield connection
    connection.close()


def test_a_connection_has_the_pragmas_it_was_asked_for(tmp_path: Path) -> None:
    connection = sqlite.connect(tmp_path / "file.db", synchronous="NORMAL", page_size=16384)
    connection.execute("CREATE TABLE t (a)")
    found = {
        name: connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "page_size")
    }
    assert found == {"journal_mode": "wal", "synchronous": 1, "page_size": 16384}
    connection.close()


def test_a_missing_file_is_made_only_if_asked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sqlite.connect(tmp_path / "none.db", create=False)
    assert list(tmp_path.iterdir()) == []


def test_a_transaction_that_raises_is_undone(connection: sqlite3.Connection, path: Path) -> None:
    def write() -> None:
        with sqlite.transaction(connection, path):
            connection.execute("DELETE FROM things")
            connection.execute("INSERT INTO unique_things VALUES (1), (1)")

    with pytest.raises(sqlite3.IntegrityError):
        write()
    assert connection.execute("SELECT name FROM things").fetchall() == [("first",)]
    assert not connection.in_transaction


def test_a_directory_that_does_not_exist_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="check that its directory exists"):
        sqlite.connect(tmp_path / "none" / "file.db")


@pytest.mark.parametrize("mistake", ["SELECT absent FROM things", "SELEC 1"])
def test_a_mistake_of_ours_is_not_dressed_up(connection: sqlite3.Connection, path: Path, mistake: str) -> None:
    with pytest.raises(sqlite3.OperationalError, match=r"no such column|syntax error"), sqlite.translated(path, "read"):
        connection.execute(mistake)


def test_a_file_that_lost_a_table_is_broken(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("DROP TABLE things")
    with pytest.raises(DamagedFile) as raised, sqlite.transaction(connection, path):
        connection.execute("INSERT INTO things VALUES ('x')")
    told = f"cannot write to {path}: the file is broken or was not written by StreamForge (no such table: things)"
    assert str(raised.value).startswith(told)


def test_an_older_format_is_migrated_and_a_newer_one_refused(connection: sqlite3.Connection, path: Path) -> None:
    for _ in range(2):
        sqlite.connect(path, sqlite.Format("box", (FIRST, SECOND))).close()
    assert connection.execute("SELECT * FROM things").fetchall() == [("first", 3)]
    with pytest.raises(ConfigError, match=r"this box has format 2, written by a newer StreamForge.*up to 1: use the"):
        sqlite.connect(path, sqlite.Format("box", (FIRST,)))


def test_the_data_version_tells_of_others_writes_only(connection: sqlite3.Connection, path: Path) -> None:
    other = sqlite.connect(path)
    before = sqlite.data_version(connection, path)
    connection.execute("INSERT INTO things VALUES ('mine')")
    assert sqlite.data_version(connection, path) == before
    other.execute("INSERT INTO things VALUES ('theirs')")
    assert sqlite.data_version(connection, path) != before
    other.close()


def test_a_removed_database_leaves_nothing(connection: sqlite3.Connection, path: Path) -> None:
    assert len(list(path.parent.iterdir())) == 3
    sqlite.remove(path)
    sqlite.remove(path)
    assert list(path.parent.iterdir()) == []
