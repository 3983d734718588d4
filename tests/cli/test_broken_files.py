"""What commands say of a file of the store that was damaged."""

from __future__ import annotations

import contextlib
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.support import COLLECTION, TYPE, Cli


def _overwritten(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)


def _without_its_table(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE documents")


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (_overwritten, "file is not a database"),
        (_without_its_table, "no such table: documents"),
    ],
)
def test_a_broken_collection_is_named_by_every_command(
    loaded: Cli, capsys: pytest.CaptureFixture[str], tmp_path: Path, damage: Callable[[Path], None], why: str
) -> None:
    cli = Cli(capsys, tmp_path / "copy", "test")
    shutil.copytree(loaded.data, cli.data)
    [broken] = (cli.data / "store" / "documents").glob(f"{COLLECTION}.*.db")
    damage(broken)
    for command in (("coverage", "BTCUSDT", TYPE, "--verify"), ("export", "BTCUSDT", TYPE)):
        ran = cli(*command)
        assert ran.code == 1, command
        assert f"{broken}: the file is broken or was not written by StreamForge ({why})" in ran.err
        assert "its content is lost then; once that is done, send the same request again" in ran.err
    ran = cli("doctor", "--json")
    assert ran.code == 1
    store = next(check for check in ran.json["checks"] if check["part"] == "store")
    assert store["verdict"] == "fails"
    assert f"cannot be read: cannot {'open' if damage is _overwritten else 'read'} {broken}: the" in store["detail"]
    assert store["detail"].startswith("1 of ")


def test_damage_behind_the_first_document_is_found_too(
    loaded: Cli, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli = Cli(capsys, tmp_path / "copy", "test")
    shutil.copytree(loaded.data, cli.data)
    [broken] = (cli.data / "store" / "documents").glob(f"{COLLECTION}.*.db")
    with broken.open("r+b") as file:
        file.seek(broken.stat().st_size // 2)
        file.write(b"\xff" * 20_000)
    told = f"cannot read {broken}: the file is broken or was not written by StreamForge ("
    assert told in cli("export", "BTCUSDT", TYPE).err
    ran = cli("doctor", "--json")
    [found] = [check for check in ran.json["checks"] if check["part"] == "store"]
    assert (ran.code, found["verdict"]) == (1, "fails")
    assert told in found["detail"]
    monkeypatch.setattr("streamforge.cli.checks.store_check.READ_WITHIN_S", 0.0)
    [found] = [check for check in cli("doctor", "--json").ok().json["checks"] if check["part"] == "store"]
    assert re.search(r"; (\d) collections?, \1 of them read in part only$", found["detail"])
    assert found["next_step"] == "`streamforge backup` reads all of them"
