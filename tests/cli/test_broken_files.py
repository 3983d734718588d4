"""What commands say of a file of the store that was damaged."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.support import COLLECTION, TYPE, Cli, Json


def _overwritten(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)


def _without_its_table(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE documents")


def _in_the_middle(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 20_000)


def _check(cli: Cli, part: str) -> Json:
    """What doctor says of the part."""
    [found] = [check for check in cli("doctor", "--json").json["checks"] if check["part"] == part]
    return dict(found)


@pytest.mark.parametrize(
    ("damage", "cannot", "why"),
    [
        (_overwritten, "open", "file is not a database)"),
        (_without_its_table, "read", "no such table: documents)"),
        (_in_the_middle, "read", ""),
    ],
)
def test_a_broken_collection_is_named_by_every_command(
    copied: Cli, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None], cannot: str, why: str
) -> None:
    [broken] = (copied.data / "store" / "documents").glob(f"{COLLECTION}.*.db")
    damage(broken)
    told = f"{broken}: the file is broken or was not written by StreamForge ({why}"
    commands = [("export", "BTCUSDT", TYPE), ("coverage", "BTCUSDT", TYPE, "--verify")]
    for command in commands if why else commands[:1]:
        ran = copied(*command)
        assert ran.code == 1, command
        assert told in ran.err
        assert not why or "its content is lost then; once that is done, send the same request again" in ran.err
    store = _check(copied, "store")
    assert store["verdict"] == "fails"
    assert f"cannot be read: cannot {cannot} {told}" in store["detail"]
    assert store["detail"].startswith("1 of ")
    if damage is _in_the_middle:
        monkeypatch.setattr("streamforge.cli.checks.store_check.READ_WITHIN_S", 0.0)
        store = _check(copied, "store")
        assert re.search(r"; (\d) collections?, \1 of them read in part only$", store["detail"])
        assert (store["verdict"], store["next_step"]) == ("works", "`streamforge backup` reads all of them")


@pytest.mark.parametrize("topic", ["queue-control", "queue-events"])
@pytest.mark.parametrize("file", ["log", "groups"])
def test_a_broken_topic_that_every_command_needs_fails(copied: Cli, topic: str, file: str) -> None:
    [broken] = (copied.data / "bus" / "topics" / topic).glob(f"{file}-*.db")
    _overwritten(broken)
    bus = _check(copied, "bus")
    assert bus["verdict"] == "fails"
    assert str(broken) in bus["detail"]
