"""Records what a version of StreamForge has written, as JSON text: `python record.py FOLDER`, run in its checkout.

    git worktree add --detach ../before COMMIT && cd ../before
    PYTHONPATH=.:src:libs/streamforge_utils/src PYTHON /path/to/tests/upgrades/record.py FOLDER

Three workflows are recorded: one that has finished, one whose manager and workers were killed when half of it was
stored, and one that waits for the end of the second. `folder.json` holds the data directory, `database.json` the
documents of a database of the double of ArangoDB.
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import sqlite3
import sys
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.doubles import arangoprocess
from tests.e2e import rig

TYPE = "api_candles_1h"
FINISHED, KILLED, WAITING = "2024-08-02", "2024-08-01:2024-08-04", "2024-08-03:2024-08-05"
HELD_FROM_MS = 1_722_643_200_000
"""Requests for candles from 2024-08-03 on are not answered while the second workflow runs."""

_SCHEMA = """
SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY type DESC, name
"""
_TABLES = """
SELECT name FROM sqlite_master
WHERE type = 'table' AND (name NOT LIKE 'sqlite_%' OR name = 'sqlite_sequence') ORDER BY name
"""


class Gate:
    """A proxy before the exchange that can hold back requests for late candles."""

    def __init__(self, upstream: str) -> None:
        self.opened = threading.Event()
        self.opened.set()
        gate = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
                if int(query.get("startTime", ["0"])[0]) >= HELD_FROM_MS and query.get("limit") != ["1"]:
                    gate.opened.wait()
                try:
                    with urllib.request.urlopen(upstream + self.path) as answer:
                        status, headers, body = answer.status, answer.headers, answer.read()
                except urllib.error.HTTPError as error:
                    status, headers, body = error.code, error.headers, error.read()
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with suppress(BrokenPipeError):  # who asked was killed
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Requests are not logged."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.opened.set()
        self._server.shutdown()


@contextmanager
def killed_midway(data: Path, exchange: rig.Exchange, **settings: str) -> Iterator[dict[str, str]]:
    """Let a manager write `data` and kill it with its workers; gives the workflows' names."""
    gate = Gate(exchange.url)
    manager = rig.Manager(data, gate.url, settings)
    try:
        finished = manager.load("BTCUSDT", TYPE, FINISHED)
        assert finished["status"] == "finished", finished
        gate.opened.clear()
        killed = manager.start_load("BTCUSDT", TYPE, KILLED)["queue_id"]
        manager.until(killed, "the first day is stored", lambda found: found["progress"]["records_stored"] >= 48)
        waiting = manager.start_load("BTCUSDT", TYPE, WAITING)["queue_id"]
        manager.until(waiting, "it waits", lambda found: "the end of" in (found["waiting_for"] or ""))
        manager.kill()
        for pid in rig.workers_of(data):
            os.kill(pid, signal.SIGKILL)
        yield {"finished": finished["queue_id"], "killed": killed, "waiting": waiting}
    finally:
        manager.close()
        gate.close()


def value_of(value: object) -> object:
    """A cell of a table as JSON: bytes are marked, as UTF-8 where they are that."""
    if not isinstance(value, bytes):
        return value
    try:
        return {"utf8": value.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def database_of(path: Path) -> dict[str, Any]:
    """The schema and the rows of an SQLite file."""
    with closing(sqlite3.connect(path)) as database:
        pragmas = {
            name: database.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("user_version", "application_id", "journal_mode")
        }
        schema = [sql for (sql,) in database.execute(_SCHEMA)]
        tables = [name for (name,) in database.execute(_TABLES)]
        rows = {
            table: [list(map(value_of, row)) for row in database.execute(f'SELECT * FROM "{table}"')]
            for table in tables
        }
    return {"pragmas": pragmas, "schema": schema, "rows": rows}


def folder_of(data: Path) -> dict[str, Any]:
    """Every file of a data directory; logs and locks are left out."""
    files: dict[str, Any] = {}
    for path in sorted(data.rglob("*")):
        if not path.is_file() or path.name.endswith(("-wal", "-shm", "log", ".lock")) or path.name == "lock":
            continue
        name = str(path.relative_to(data))
        if path.read_bytes()[:15] == b"SQLite format 3":
            files[name] = {"sqlite": database_of(path)}
        else:
            files[name] = {"text": path.read_text()}
    return files


def documents_of(double: arangoprocess.ArangoProcess) -> dict[str, Any]:
    """Collections with their indexes and documents."""
    prefix = f"/_db/{arangoprocess.DATABASE}"
    found: dict[str, Any] = {}
    for one in double.ask("GET", f"{prefix}/_api/collection?excludeSystem=true")["result"]:
        name = one["name"]
        indexes = double.ask("GET", f"{prefix}/_api/index?collection={name}")["indexes"]
        query = {"query": "FOR d IN @@c SORT d._key RETURN d", "bindVars": {"@c": name}, "batchSize": 10_000}
        documents = double.ask("POST", f"{prefix}/_api/cursor", query)["result"]
        found[name] = {
            "type": one["type"],
            "indexes": [index for index in indexes if index["type"] not in ("primary", "edge")],
            "documents": [{k: v for k, v in d.items() if k not in ("_id", "_rev")} for d in documents],
        }
    return found


def write(path: Path, recording: dict[str, Any], data: Path) -> None:
    """The recording, without any path of this machine."""
    text = json.dumps(recording, indent=None, separators=(",", ":"), ensure_ascii=False)
    text = text.replace(str(data), "{data}").replace(str(Path.cwd()), "{checkout}").replace(sys.prefix, "{python}")
    text = re.sub(r'("(?:HOME|PATH|PWD|OLDPWD|VIRTUAL_ENV|PYTHONPATH|HOSTNAME)":)"[^"]*"', r'\1""', text)
    text = text.replace('},{"', '},\n{"').replace("],[", "],\n[")
    path.write_text(text + "\n")
    print(path, len(text))


def main(target: Path) -> None:
    """Write both recordings into `target`."""
    with tempfile.TemporaryDirectory() as scratch, rig.exchange("--now", "2024-09-01T00:00:00Z") as exchange:
        data = Path(scratch) / "data"
        with killed_midway(data, exchange) as workflows:
            write(target / "folder.json", {"workflows": workflows, "files": folder_of(data)}, data)
        data = Path(scratch) / "beside"
        with (
            arangoprocess.running(Path(scratch) / "double") as double,
            killed_midway(data, exchange, **double.environment()) as workflows,
        ):
            write(target / "database.json", {"workflows": workflows, "collections": documents_of(double)}, data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
