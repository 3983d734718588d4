"""The machine under StreamForge: settings, a taken port, a folder of other data, a broken file, a full disk."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests import backends
from tests.addresses import EVERYWHERE
from tests.chaos.processes import of_data
from tests.e2e import rig

BINANCE = "https://data-api.binance.vision"
MIXED = "{} holds data of the test exchange, not of Binance, and the two are never mixed"


def refused(environment: Mapping[str, str], codes: tuple[int, ...] = (2,)) -> str:
    """The error output of a manager that cannot start."""
    usual = {"STREAMFORGE_PORT": "0", "STREAMFORGE_METRICS_PORT": "0"}
    ended = rig.ended("-m", "streamforge.manager", environ=usual | dict(environment))
    assert ended.returncode in codes, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stderr


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, ("STREAMFORGE_DATA_DIR is missing",)),
        (
            {"STREAMFORGE_HEARTBEAT_SECONDS": "soon", "STREAMFORGE_PORT": "70000"},
            ("STREAMFORGE_DATA_DIR is missing", "STREAMFORGE_HEARTBEAT_SECONDS: 'soon'", "STREAMFORGE_PORT: '70000'"),
        ),
        ({"STREAMFORGE_DATA_DIR": "/proc/nowhere"}, ("/proc/nowhere", "cannot be used")),
        (
            {"STREAMFORGE_DATA_DIR": "DATA", "STREAMFORGE_EXCHANGE_URL": "ftp://u:secret@host"},
            ("STREAMFORGE_EXCHANGE_URL", "a user or a password"),
        ),
        ({"STREAMFORGE_DATA_DIR": "DATA", "STREAMFORGE_EXCHANGE_URL": "ftp://host"}, ("base URL", "ftp://host")),
        ({"STREAMFORGE_DATA_DIR": "DATA", "STREAMFORGE_HOST": EVERYWHERE}, ("token", EVERYWHERE)),
        (
            {"STREAMFORGE_DATA_DIR": "DATA", "K8S_NAMESPACE": "stf"},
            ("K8S_NAMESPACE is set, but STREAMFORGE_LAUNCHER is not",),
        ),
    ],
    ids=["none", "several", "folder", "password", "URL", "host", "namespace"],
)
def test_settings_that_cannot_work_are_all_named_and_nothing_starts(
    settings: dict[str, str], words: tuple[str, ...], tmp_path: Path
) -> None:
    settings = {name: str(tmp_path / "data") if value == "DATA" else value for name, value in settings.items()}
    error = refused(settings)
    assert [word for word in words if word not in error] == [], error
    assert "secret" not in error


def test_a_taken_port_and_a_held_folder_are_named(manager: rig.Manager, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert port in refused({"STREAMFORGE_DATA_DIR": str(tmp_path / "data"), "STREAMFORGE_PORT": port})
    error = refused({"STREAMFORGE_DATA_DIR": str(manager.data)})
    assert str(manager.data) in error
    assert str(manager.api.base_url).rstrip("/") in error


@pytest.mark.long
def test_another_exchange_and_broken_files_of_the_store_are_named(exchange: rig.Exchange, tmp_path: Path) -> None:
    with rig.manager(tmp_path / "data", exchange.url, STREAMFORGE_MAX_FAILURES="2") as manager:
        workflow = manager.load("BTCUSDT", "api_candles_1h", "2024-08-01")
        manager.stop()
        other = {"STREAMFORGE_DATA_DIR": str(manager.data), "STREAMFORGE_EXCHANGE_URL": BINANCE}
        assert MIXED.format(manager.data) in refused(other)
        files = [path for path in (manager.data / "store").rglob("*") if path.is_file() and _is_database(path)]
        assert files
        broken = [path for path in files if "btcusdt" in str(path)] or files
        for path in broken:
            path.write_bytes(b"this is no database" * 500)
            for beside in (path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
                beside.unlink(missing_ok=True)
        manager.start()
        answer = manager.api.get(f"/collections/{workflow['collection']}/records")
        assert answer.status_code < 500 or answer.status_code == 503, answer.text
        assert any(path.name in answer.text or str(path.parent) in answer.text for path in broken), answer.text
        again = manager.load("BTCUSDT", "api_candles_1h", "2024-08-01", again=True)
        assert again["status"] == "error", manager.story(again["queue_id"])
        assert any(str(path) in again["failure"]["reason"] for path in broken), again["failure"]
        manager.loaded("ETHUSDT", "api_candles_1h", "2024-08-01")  # nothing else is affected

        manager.stop()
        for path in (manager.data / "store").rglob("*"):
            if path.is_file():
                path.write_bytes(b"this is no database" * 500)
        assert str(manager.data / "store") in refused({"STREAMFORGE_DATA_DIR": str(manager.data)}, (1, 2))


def test_records_that_are_gone_are_loaded_again_although_the_coverage_names_them(
    exchange: rig.Exchange, tmp_path: Path
) -> None:
    with rig.manager(tmp_path / "data", exchange.url) as manager:
        first = manager.loaded("BTCUSDT", "api_candles_1h", "2024-08-01")
        manager.stop()
        _lose(manager.data, first["collection"])
        manager.start()
        second = manager.loaded("BTCUSDT", "api_candles_1h", "2024-08-01")
        assert second["progress"] == first["progress"]
        assert second["progress"]["records_stored"] == 24
        third = manager.load("BTCUSDT", "api_candles_1h", "2024-08-01")
        assert third["progress"]["records_there"] == 24, "what is there again is not loaded a third time"


@pytest.mark.long
@pytest.mark.skipif(
    not hasattr(resource, "prlimit"), reason="the limit of another process can be changed on Linux only"
)
def test_a_full_disk_is_shown_and_waited_for(exchange: rig.Exchange, tmp_path: Path) -> None:
    limit = 4_000_000  # of each file: the month's topic is far beyond it, the history of a slow machine is not
    with rig.manager(tmp_path / "data", exchange.url) as manager:
        for pid in of_data(manager.data):  # workers inherit it from the manager or from its fork server
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        queue_id = manager.start_load("BTCUSDT", "api_candles_1m", "2024-08")["queue_id"]
        found = manager.until(
            queue_id,
            "a worker shows that it waits for the disk",
            lambda w: any("disk" in str(step["progress"] and step["progress"]["waiting"]) for step in w["steps"]),
        )
        assert found["status"] == "running"
        assert manager.api.get("/healthz").status_code == 200
        # Room again: for the manager, and for its workers.
        for pid in of_data(manager.data):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        rig.assert_exact(exchange, manager, manager.finished(queue_id))


def _lose(data: Path, collection: str) -> None:
    """Remove the records, but not from the coverage."""
    if not backends.store_embedded():
        asyncio.run(_drop(data, collection))
        return
    lost = [path for path in (data / "store" / "documents").glob(f"{collection}*") if path.is_file()]
    assert lost
    for path in lost:
        path.unlink()


async def _drop(data: Path, collection: str) -> None:
    store = backends.make_store(data)
    try:
        assert collection in await store.names()
        await store.drop(collection)
    finally:
        await store.close()


def _is_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(15) == b"SQLite format 3"
