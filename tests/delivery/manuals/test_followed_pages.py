"""Pages of the manuals do what they say: each of their commands is run as it is written.

What the guide for backups brings back equals what there was, from files and from a database (on the double).
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests import guides
from tests.doubles import arangoprocess
from tests.engines.process import free_ports


def refused(folder: Path, environ: Mapping[str, str], *arguments: str) -> str:
    command = [str(folder / ".venv" / "bin" / "streamforge"), *arguments]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=150)
    assert done.returncode != 0, done.stdout
    return done.stderr


def load(folder: Path, environ: Mapping[str, str], symbol: str, time_range: str) -> None:
    guides.streamforge(folder, environ, "load", symbol, "api_candles_1h", time_range, "--exchange", "test")


@contextmanager
def manager(folder: Path, environ: Mapping[str, str], data: str) -> Iterator[httpx.Client]:
    command = [str(folder / ".venv" / "bin" / "streamforge"), "up", "--data", data, "--exchange", "test", "--port", "0"]
    with subprocess.Popen([*command, "--json"], cwd=folder, env=environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            with httpx.Client(base_url=json.loads(process.stdout.readline())["url"], timeout=60) as client:
                yield client
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def everything(folder: Path, environ: Mapping[str, str], data: str = "build/data") -> dict[str, Any]:
    """All that a program can ask a manager of: workflows with their steps, their events, coverage, records."""
    with manager(folder, environ, data) as client:
        return _asked(client)


def _asked(client: httpx.Client) -> dict[str, Any]:
    names = [queue["queue_id"] for queue in client.get("/queues").json()["queues"]]
    workflows = [client.get(f"/queues/{name}").json() for name in names]
    collections = sorted({workflow["collection"] for workflow in workflows})
    csv = {"Accept": "text/csv"}
    return {
        "workflows": workflows,
        "events": {name: client.get(f"/queues/{name}/events").json()["events"] for name in names},
        "coverage": [client.get(f"/coverage/{symbol}/api_candles_1h").json() for symbol in ("BTCUSDT", "ETHUSDT")],
        "records": {
            name: client.get(f"/collections/{name}/records", headers=csv, params={"limit": 10_000}).text.splitlines()[
                1:
            ]
            for name in collections
        },
    }


def test_getting_started_ends_with_a_proven_series_and_a_server(tmp_path: Path) -> None:
    folder = guides.checkout(tmp_path / "checkout")
    port = str(free_ports(1)[0])
    environ = guides.environment(tmp_path / "home") | {"STREAMFORGE_PORT": port}
    with guides.opened(
        "docs/tutorials/getting-started.md", folder, environ, tmp_path, {"127.0.0.1:8080": f"127.0.0.1:{port}"}
    ) as guide:
        for step in guides.steps(guide.page):
            guide.step(step)
    rows = (folder / "build" / "july.csv").read_text("utf-8").splitlines()
    assert len(rows) == 745
    assert [rows[1].split(",")[2], rows[-1].split(",")[2]] == ["1719792000000", "1722466800000"]


def test_data_sets_are_read_as_their_page_says(tmp_path: Path) -> None:
    folder = guides.checkout(tmp_path / "checkout")
    with guides.opened("docs/how-to/data-sets.md", folder, guides.environment(tmp_path / "home"), tmp_path) as guide:
        for step in guides.steps(guide.page):
            guide.step(step)


def test_an_installation_is_tested_with_the_commands_of_the_testing_guide(tmp_path: Path) -> None:
    folder = guides.checkout(tmp_path / "checkout")
    port = str(free_ports(1)[0])
    environ = guides.environment(tmp_path / "home") | {"STREAMFORGE_METRICS_PORT": port}
    with guides.opened("docs/testing.md", folder, environ, tmp_path, {"localhost:8000": f"localhost:{port}"}) as guide:
        for step in guides.steps(guide.page, "Testing an installation"):
            guide.step(step)


def test_a_restore_brings_back_every_workflow_event_and_record(tmp_path: Path) -> None:
    folder = guides.checkout(tmp_path / "checkout")
    environ = guides.environment(tmp_path / "home")
    with guides.opened("docs/how-to/backup.md", folder, environ, tmp_path) as guide:
        first, *others = guides.steps(guide.page, "One machine") + guides.steps(guide.page, "A drill")
        guide.step(first)
        # More than the page has, before the copy that counts: another series.
        load(folder, environ, "ETHUSDT", "2024-08")
        guides.streamforge(folder, environ, "backup", "build/backups/99991231T000000Z")
        before = everything(folder, environ)
        assert len(before["workflows"]) == 2
        assert all(len(events) >= 4 for events in before["events"].values())
        assert [len(rows) for rows in before["records"].values()] == [744, 744]
        for step in others:
            guide.step(step)
            if "build/data.damaged" in step.text:
                assert everything(folder, environ) == before
    assert everything(folder, environ, "build/drill") == before


def test_a_database_comes_back_whole_from_its_copy_as_json_lines(tmp_path: Path) -> None:
    folder = guides.checkout(tmp_path / "checkout")
    with arangoprocess.running(tmp_path / "arango") as arango:
        environ = guides.environment(tmp_path / "home") | arango.environment()
        load(folder, environ, "BTCUSDT", "2024-07")
        load(folder, environ, "ETHUSDT", "2024-08")
        before = everything(folder, environ)
        assert [len(rows) for rows in before["records"].values()] == [744, 744]
        with guides.opened("docs/how-to/backup.md", folder, environ, tmp_path) as guide:
            for step in guides.steps(guide.page, "ArangoDB"):
                if "streamforge restore" in step.text:
                    arango.ask("DELETE", f"/_api/database/{arangoprocess.DATABASE}")
                    arango.ask("POST", "/_api/database", {"name": arangoprocess.DATABASE})
                guide.step(step)
        assert everything(folder, environ, "build/elsewhere") == before
        # No manager's data are written over, and none while a manager lives.
        again = refused(folder, environ, "restore", "build/database-backup")
        assert "the store is not empty" in again
        with manager(folder, environ, "build/data"):
            assert "is managed by `streamforge` (process " in refused(
                folder, environ, "restore", "build/database-backup"
            )
