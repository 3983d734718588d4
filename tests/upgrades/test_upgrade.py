"""Data and workflows of the version before, as `record.py` recorded them, are read, shown, continued and proven."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from streamforge.manager.engine.document import Status
from streamforge.manager.engine.stored_document import decode_workflow, encode_workflow
from streamforge_utils.runtime.life.worker_definition import Source
from tests.doubles import arangoprocess
from tests.doubles.arangoprocess import DATABASE, ArangoProcess
from tests.e2e import rig
from tests.manager.support import the_plan

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


AUGUST_1_MS = 1_722_470_400_000
DAYS = {"finished": (1, 2), "killed": (0, 3), "waiting": (2, 4)}
"""First day and the day after the last one of each workflow's range, counted from 2024-08-01."""
SAME = [0, 1, 2, 3, 6, 8]
"""Columns of which the exchange says today what it said then: highs, lows and volumes did not come of its trades."""


@pytest.fixture(scope="module")
def exchange() -> Iterator[rig.Exchange]:
    """The exchange that the recorded version loaded from; its candles follow from its seed."""
    with rig.exchange("--now", "2024-09-01T00:00:00Z") as found:
        yield found


@contextmanager
def upgraded(store: str, folder: Path, exchange: rig.Exchange) -> Iterator[tuple[rig.Manager, Mapping[str, str]]]:
    """Today's manager on what was recorded, and the names of the recorded workflows."""
    found, data = recording(store), folder / "data"
    if store == "folder":
        restore_folder(found["files"], data)
        with rig.manager(data, exchange.url) as manager:
            yield manager, found["workflows"]
        return
    with arangoprocess.running(folder / "double") as double:
        restore_collections(found["collections"], double)
        with rig.manager(data, exchange.url, **double.environment()) as manager:
            yield manager, found["workflows"]


@pytest.mark.parametrize("store", ["folder", pytest.param("database", marks=pytest.mark.long)])
def test_what_the_version_before_has_begun_is_finished_proven_not_loaded_again_and_removed(
    store: str, exchange: rig.Exchange, tmp_path: Path
) -> None:
    with upgraded(store, tmp_path, exchange) as (manager, workflows):
        listed = {one["queue_id"] for one in manager.api.get("/queues").json()["queues"]}
        assert listed == set(workflows.values())
        for name, (first, end) in DAYS.items():
            workflow = manager.finished(workflows[name])
            segments = manager.coverage(workflows[name])
            assert [one["verdict"] for one in segments] == ["stored"] * len(segments)
            progress = workflow["progress"]
            assert progress["records_stored"] == progress["records_expected"] == 24 * (end - first)
            assert manager.events(workflows[name])[0]["event"] == "started"
        answer = manager.api.get("/coverage/BTCUSDT/api_candles_1h", params={"time_range": "2024-08-01:2024-08-05"})
        assert [one["verdict"] for one in answer.json()["segments"]].count("stored") == len(answer.json()["segments"])
        collections = {manager.show(queue_id)["collection"] for queue_id in workflows.values()}
        lines = [line for name in collections for line in manager.csv(name)[1:]]
        rows = exchange.oracle("BTCUSDT", "1h", AUGUST_1_MS, AUGUST_1_MS + 4 * rig.DAY_MS)
        found, expected = sorted(lines), sorted(rig.expected_csv("BTCUSDT", "1h", rows)[1:])
        assert [_same(line) for line in found] == [_same(line) for line in expected]
        loaded_today = slice(24 * DAYS["killed"][1], None)
        assert found[loaded_today] == expected[loaded_today]

        before = exchange.requests()
        again = manager.load("BTCUSDT", "api_candles_1h", "2024-08-01:2024-08-05")
        assert (again["status"], again["progress"]["records_there"]) == ("finished", 96), again["progress"]
        assert exchange.requests() - before <= 2, "only where the series begins was asked for"
        manager.api.delete(f"/queues/{workflows['finished']}", params={"data": "true"}).raise_for_status()
        assert manager.api.get(f"/queues/{workflows['finished']}").status_code == 404


def _same(line: str) -> list[str]:
    cells = line.split(",")
    return [cells[at] for at in SAME]


def workflow_documents() -> list[bytes]:
    """The recorded documents of workflows, as they lay in the store."""
    rows = recording("folder")["files"]["store/states.db"]["sqlite"]["rows"]["states"]
    bodies = [cell["utf8"].encode() for row in rows for cell in row if isinstance(cell, dict)]
    return [body for body in bodies if b'"steps"' in body]


def test_documents_of_the_version_before_are_read_whole() -> None:
    found = {workflow.status: workflow for workflow in map(decode_workflow, workflow_documents())}
    assert set(found) == {Status.FINISHED, Status.RUNNING, Status.PENDING}
    running = found[Status.RUNNING]
    assert the_plan(running).load == ("2024-08-01:2024-08-02", "2024-08-03:2024-08-04")
    assert {(part.source, part.reason) for part in the_plan(running).parts} == {(Source.REST, "")}
    assert [attempt.number for step in running.steps for attempt in step.attempts] == [1, 1]
    assert found[Status.FINISHED].steps[0].attempts[0].terminal_event == "finished"
    assert all(decode_workflow(encode_workflow(workflow)) == workflow for workflow in found.values())
