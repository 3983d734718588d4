"""The `streamforge` command on ArangoDB does what it does on files, and one manager drives a database.

A second manager is refused, one that was killed is followed, and no exchanges are mixed.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests import backends, cleanenv
from tests.arango.servers import Databases
from tests.cli import support
from tests.e2e import rig
from tests.e2e.conftest import exchange
from tests.limits import LIMIT_S

__all__ = ["exchange"]
HOURS = ("ETHUSDT", "api_candles_1h", "2024-08-01")
WAITING = "waiting up to"


@pytest.fixture
def environ(databases: Databases, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The variables that name a database of the test's own."""
    with backends.on_store(databases):
        yield backends.store_environment(tmp_path)


def command(environ: Mapping[str, str], data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return rig.ended("-m", "streamforge.cli", *arguments, "--data", str(data), environ=environ)


def service(environ: Mapping[str, str], data: Path, exchange_url: str) -> subprocess.CompletedProcess[str]:
    """Run queue-manager itself, which is to end by itself."""
    more = {"STREAMFORGE_DATA_DIR": str(data), "STREAMFORGE_EXCHANGE_URL": exchange_url}
    ports = {"STREAMFORGE_PORT": "0", "STREAMFORGE_METRICS_PORT": "0"}
    return rig.ended("-m", "streamforge.manager", environ={**environ, **more, **ports})


def test_load_coverage_and_export_are_the_same_on_arangodb_and_on_files(
    databases: Databases, exchange: rig.Exchange, tmp_path: Path
) -> None:
    what = ("ETHUSDT", "api_candles_1h", "2024-08-01:2024-08-04")
    told: dict[str, list[object]] = {}
    for store in ("files", "arango"):
        data = tmp_path / store
        with backends.on_store(databases):
            environ = backends.store_environment(data) if store == "arango" else {}
        loaded = command(environ, data, "load", *what, "--exchange", exchange.url, "--json")
        assert loaded.returncode == 0, loaded.stderr
        found = json.loads(loaded.stdout)
        coverage = command(environ, data, "coverage", *what, "--json")
        assert coverage.returncode == 0, coverage.stderr
        told[store] = [found["status"], found["records_stored"], json.loads(coverage.stdout)["segments"]]
        for form in ("csv", "jsonl"):
            file = tmp_path / f"{store}.{form}"
            exported = command(environ, data, "export", *what, "--output", str(file), "--format", form)
            assert exported.returncode == 0, exported.stderr
            told[store].append(file.read_bytes())
        assert (data / "store").exists() == (store == "files")
    assert told["arango"] == told["files"]
    assert told["files"][1] == 72


def test_what_is_stored_there_is_replayed_and_loaded_again(
    environ: dict[str, str], exchange: rig.Exchange, tmp_path: Path
) -> None:
    trades = ("ETHUSDT", "api_trades", "2024-08-01:2024-08-01T00:05Z")
    for what in (HOURS, trades):
        loaded = command(environ, tmp_path, "load", *what, "--exchange", exchange.url)
        assert loaded.returncode == 0, loaded.stderr
    with pytest.MonkeyPatch.context() as variables:
        for name, text in {**environ, "STREAMFORGE_DATA_DIR": str(tmp_path)}.items():
            variables.setenv(name, text)
        with support.exchange("--replay", "stored") as url:
            for what in (HOURS, trades):
                again = command({}, tmp_path / "again", "load", *what, "--exchange", url)
                assert again.returncode == 0, again.stderr
                places: list[tuple[dict[str, str], Path]] = [(environ, tmp_path), ({}, tmp_path / "again")]
                first, second = (command(*place, "export", *what, "--format", "jsonl").stdout for place in places)
                assert first.count("\n") >= 24
                assert second == first


def test_doctor_tells_of_the_database_and_leaves_nothing_there(environ: dict[str, str], tmp_path: Path) -> None:
    ran = command(environ, tmp_path, "doctor", "--exchange", "test", "--json")
    assert ran.returncode == 0, ran.stdout
    checks = {check["part"]: check for check in json.loads(ran.stdout)["checks"]}
    assert f"database {environ['ARANGO_DB']}" in checks["store"]["detail"]
    assert checks["store"]["detail"].endswith("; 0 collections")
    assert "GiB" in checks["room"]["detail"]
    assert environ["ARANGO_PASSWORD"] not in ran.stdout + ran.stderr


def test_a_second_manager_is_refused_and_what_runs_is_left_alone(
    environ: dict[str, str], exchange: rig.Exchange, tmp_path: Path
) -> None:
    exchange.switch_on("slow:ms=200,path=klines")
    with rig.manager(tmp_path / "a", exchange.url, **environ) as manager:
        queue_id = manager.start_load("BTCUSDT", "api_candles_1m", "2023-01-01:2023-04-01")["queue_id"]
        manager.until(queue_id, "records come", lambda w: w["progress"]["records_stored"] > 0)
        for second in (
            command(environ, tmp_path / "b", "load", *HOURS, "--exchange", exchange.url),
            service(environ, tmp_path / "c", exchange.url),
        ):
            assert second.returncode == 2, second.stderr
            assert f"is managed by queue-manager (process {manager.pid} on " in second.stderr
            assert f"--server {str(manager.api.base_url).rstrip('/')}, or wait until it has ended" in second.stderr
            assert environ["ARANGO_PASSWORD"] not in second.stderr
        exchange.lift_faults()
        workflow = manager.wait(queue_id, limit_s=120)
        assert workflow["status"] == "finished", manager.story(queue_id)
        assert [len(step["attempts"]) for step in workflow["steps"]] == [1, 1], "somebody took its jobs away"
        assert manager.stop() == 0
    after = command(environ, tmp_path / "b", "load", *HOURS, "--exchange", exchange.url)
    assert after.returncode == 0, after.stderr
    assert WAITING not in after.stderr, "a manager that ended in order leaves the database free"


def test_the_command_first_and_the_service_second_is_refused_too(
    environ: dict[str, str], exchange: rig.Exchange, tmp_path: Path
) -> None:
    exchange.switch_on("slow:ms=300,path=klines")
    first = subprocess.Popen(
        [sys.executable, "-m", "streamforge.cli", "up", "--json", "--port", "0", "--data", str(tmp_path / "a"),
         "--exchange", exchange.url],
        env=cleanenv.environment() | environ | {"STREAMFORGE_METRICS_PORT": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )  # fmt: skip
    try:
        assert first.stdout is not None
        url = json.loads(first.stdout.readline())["url"]
        second = service(environ, tmp_path / "b", exchange.url)
        assert second.returncode == 2, second.stderr
        assert f"queue-manager: the database {environ['ARANGO_DB']} at " in second.stderr
        assert f"is managed by `streamforge` (process {first.pid} on " in second.stderr
        assert f"--server {url}, or wait" in second.stderr
        changing = command(environ, tmp_path / "b", "rm", "--yes", "wf-ethusdt-api_candles_1h-20240801-abcdef")
        assert (changing.returncode, "is managed by" in changing.stderr) == (2, True)
    finally:
        first.send_signal(signal.SIGINT)
        first.wait(LIMIT_S)
        assert first.stdout is not None
        first.stdout.close()


def test_a_manager_that_was_killed_is_followed_at_once_in_its_folder_and_soon_elsewhere(
    environ: dict[str, str], exchange: rig.Exchange, tmp_path: Path
) -> None:
    exchange.lift_faults()
    quick = environ | {"STREAMFORGE_LEASE_SECONDS": "4"}
    with rig.manager(tmp_path / "a", exchange.url, **quick) as manager:
        manager.kill()
        manager.start()
        assert WAITING not in manager.log(), "the folder's lock proves that it has ended"
        rig.eventually(lambda: manager.api.get("/readyz").status_code == 200 or None, "it is ready")
        manager.kill()
        elsewhere = command(quick, tmp_path / "b", "load", *HOURS, "--exchange", exchange.url)
        assert elsewhere.returncode == 0, elsewhere.stderr
        assert f"{WAITING} 4 s to see whether it is alive" in elsewhere.stderr


def test_what_reads_needs_the_database_alone(environ: dict[str, str], exchange: rig.Exchange, tmp_path: Path) -> None:
    exchange.lift_faults()
    loaded = command(environ, tmp_path / "a", "load", *HOURS, "--exchange", exchange.url, "--json")
    assert loaded.returncode == 0, loaded.stderr
    queue_id = json.loads(loaded.stdout)["queue_id"]
    nowhere = tmp_path / "not there"
    told = {}
    for arguments in (("queues",), ("show", queue_id), ("coverage", *HOURS)):
        ran = command(environ, nowhere, *arguments, "--json")
        assert ran.returncode == 0, (arguments, ran.stderr)
        told[arguments[0]] = json.loads(ran.stdout)
    assert [one["queue_id"] for one in told["queues"]["queues"]] == [queue_id]
    assert told["show"]["progress"]["records_stored"] == 24
    assert [segment["verdict"] for segment in told["coverage"]["segments"]] == ["stored"]
    exported = command(environ, nowhere, "export", *HOURS, "--format", "csv")
    assert exported.returncode == 0, exported.stderr
    start_ms = 1_722_470_400_000
    rows = exchange.oracle("ETHUSDT", "1h", start_ms, start_ms + 24 * rig.HOUR_MS)
    assert exported.stdout.splitlines() == rig.expected_csv("ETHUSDT", "1h", rows)
    assert not nowhere.exists()
    removed = command(environ, tmp_path / "not there", "rm", queue_id, "--yes")
    assert removed.returncode == 0, removed.stderr
    assert json.loads(command(environ, nowhere, "queues", "--json").stdout)["queues"] == []


def test_a_database_keeps_to_its_exchange_whichever_folder_is_named(
    environ: dict[str, str], exchange: rig.Exchange, tmp_path: Path
) -> None:
    exchange.lift_faults()
    assert command(environ, tmp_path / "a", "load", *HOURS, "--exchange", exchange.url).returncode == 0
    for data in ("a", "b"):
        refused = command(environ, tmp_path / data, "load", *HOURS, "--exchange", "binance")
        assert refused.returncode == 2, refused.stderr
        assert f"the database {environ['ARANGO_DB']} at " in refused.stderr
        assert "holds data of the test exchange, not of Binance, and the two are never mixed" in refused.stderr
    served = service(environ, tmp_path / "c", "https://data-api.binance.vision")
    assert served.returncode == 2, served.stderr
    assert f"from the test exchange with STREAMFORGE_EXCHANGE_URL={exchange.url}" in served.stderr
