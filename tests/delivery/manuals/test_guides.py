"""The guides for one machine do what they say: each of their commands is run as it is written."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import guides
from tests.engines.ports import free_ports


@pytest.mark.timeout(240)
def test_getting_started_ends_with_a_proven_series_and_a_server(tmp_path: Path) -> None:
    folder = guides.checkout(tmp_path / "checkout")
    port = str(free_ports(1)[0])
    environ = guides.environment(tmp_path / "home") | {"STREAMFORGE_PORT": port}
    with guides.opened(
        "docs/getting-started.md", folder, environ, tmp_path, {"127.0.0.1:8080": f"127.0.0.1:{port}"}
    ) as guide:
        for step in guides.steps(guide.page):
            guide.step(step)
    rows = (folder / "build" / "july.csv").read_text("utf-8").splitlines()
    assert len(rows) == 745
    assert [rows[1].split(",")[2], rows[-1].split(",")[2]] == ["1719792000000", "1722466800000"]


@pytest.mark.timeout(240)
def test_a_restore_brings_back_every_workflow_event_and_record(tmp_path: Path) -> None:
    folder = guides.checkout(tmp_path / "checkout")
    environ = guides.environment(tmp_path / "home")
    with guides.opened("docs/backup.md", folder, environ, tmp_path) as guide:
        first, *others = guides.steps(guide.page)
        guide.step(first)
        # More than the page has, before the copy that counts: another month and another series.
        _load(folder, "BTCUSDT", "2024-01")
        _load(folder, "ETHUSDT", "2024-08")
        _streamforge(folder, "backup", "build/backups/99991231T000000Z")
        before = _everything(folder)
        assert len(before["workflows"]) == 3
        assert all(len(events) >= 4 for events in before["events"].values())
        assert [len(rows) for rows in before["records"].values()] == [744, 744, 744]
        done = []
        for step in others:
            guide.step(step)
            if "streamforge restore" in step.text:
                done.append(step.line)
                assert _everything(folder) == before
    assert len(done) == 2
    assert _everything(folder, "build/drill") == before


def _streamforge(folder: Path, *arguments: str, data: str = "build/data") -> str:
    environ = guides.environment(folder.parent / "home")
    command = [str(folder / ".venv" / "bin" / "streamforge"), *arguments, "--data", data]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _load(folder: Path, symbol: str, time_range: str) -> None:
    _streamforge(folder, "load", symbol, "api_candles_1h", time_range, "--exchange", "test")


def _everything(folder: Path, data: str = "build/data") -> dict[str, Any]:
    """All that a program can ask a manager of: workflows with their steps, their events, coverage, records."""
    command = [str(folder / ".venv" / "bin" / "streamforge"), "up", "--data", data, "--exchange", "test", "--port", "0"]
    with subprocess.Popen(
        [*command, "--json"],
        cwd=folder,
        env=guides.environment(folder.parent / "home"),
        stdout=subprocess.PIPE,
        text=True,
    ) as manager:
        try:
            assert manager.stdout is not None
            with httpx.Client(base_url=json.loads(manager.stdout.readline())["url"], timeout=60) as client:
                return _asked(client)
        finally:
            manager.send_signal(signal.SIGINT)
            manager.wait(30)


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
