"""Makes of a recording (`record.py`) the data directory or the database that it was made of."""

from __future__ import annotations

import base64
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.doubles.arangoprocess import DATABASE, ArangoProcess

RECORDINGS = Path(__file__).parent / "recordings"


def recording(name: str) -> dict[str, Any]:
    """The recording of a name."""
    found: dict[str, Any] = json.loads((RECORDINGS / f"{name}.json").read_text("utf-8"))
    return found


def restore_folder(files: dict[str, Any], data: Path) -> None:
    """Write the files of a data directory."""
    for name, content in files.items():
        path = data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if "sqlite" in content:
            _restore_database(content["sqlite"], path)
        else:
            path.write_text(content["text"].replace("{data}", str(data)), "utf-8")


def restore_collections(collections: dict[str, Any], double: ArangoProcess) -> None:
    """Write collections, indexes and documents into the double's database."""
    for name, content in collections.items():
        _ask(double, "collection", {"name": name, "type": content["type"]})
        for index in content["indexes"]:
            wanted = {key: index[key] for key in ("name", "type", "fields", "sparse", "unique")}
            _ask(double, f"index?collection={name}", wanted)
        for answer in _ask(double, f"document/{name}", content["documents"]):
            assert not answer.get("error"), answer


def _ask(double: ArangoProcess, path: str, body: object) -> Any:
    answer = double.ask("POST", f"/_db/{DATABASE}/_api/{path}", body)
    assert not (isinstance(answer, dict) and answer.get("error")), answer
    return answer


def _restore_database(content: dict[str, Any], path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        for name, value in content["pragmas"].items():
            database.execute(f"PRAGMA {name} = {value}")
        for sql in content["schema"]:
            database.execute(sql)
        for table, rows in content["rows"].items():
            database.execute(f'DELETE FROM "{table}"')
            for row in rows:
                holes = ",".join("?" * len(row))
                database.execute(f'INSERT INTO "{table}" VALUES ({holes})', list(map(_cell, row)))
        database.commit()


def _cell(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return value["utf8"].encode() if "utf8" in value else base64.b64decode(value["base64"])
