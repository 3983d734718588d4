"""A Python whose SQLite is too old is refused by name before anything is opened."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from streamforge import wiring
from streamforge_utils.adapters.embedded import sqlite
from streamforge_utils.adapters.embedded.backup import back_up
from streamforge_utils.model.errors import ConfigError
from streamforge_utils.runtime.settings import DataSettings


def opened(data: Path) -> None:
    sqlite.connect(data / "file.db")


def backed_up(data: Path) -> None:
    (data / "format.json").write_text('{"format": 1}')
    back_up(data, data.with_name("copy"), made_at="2026-01-01T00:00:00Z", made_by="test")


ENTRIES: dict[str, Callable[[Path], object]] = {
    "bus": lambda data: wiring.make_bus(DataSettings(data_dir=data)),
    "store": lambda data: wiring.make_store(DataSettings(data_dir=data)),
    "backup": backed_up,
    "file": opened,
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_sqlite_before_3_35_is_refused_by_name(entry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.34.1")
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(ConfigError, match=r"SQLite of this Python .* is 3\.34\.1, .* need 3\.35 or newer"):
        ENTRIES[entry](tmp_path)
    assert [path.name for path in tmp_path.rglob("*.db*")] == []


def test_sqlite_3_35_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 35, 0))
    sqlite.connect(tmp_path / "file.db").close()
