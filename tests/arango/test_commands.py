"""The `streamforge` command on ArangoDB: what it loads, tells and exports is what it does on files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests import backends, cleanenv
from tests.arango.servers import Databases
from tests.e2e import rig
from tests.e2e.conftest import exchange
from tests.limits import LIMIT_S

__all__ = ["exchange"]

pytestmark = pytest.mark.timeout(180)


def command(environ: Mapping[str, str], data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "streamforge.cli", *arguments, "--data", str(data)],
        env=cleanenv.environment() | dict(environ),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


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


def test_doctor_tells_of_the_database_and_leaves_nothing_there(databases: Databases, tmp_path: Path) -> None:
    with backends.on_store(databases):
        environ = backends.store_environment(tmp_path)
    ran = command(environ, tmp_path, "doctor", "--exchange", "test", "--json")
    assert ran.returncode == 0, ran.stdout
    checks = {check["part"]: check for check in json.loads(ran.stdout)["checks"]}
    assert f"database {environ['ARANGO_DB']}" in checks["store"]["detail"]
    assert checks["store"]["detail"].endswith("; 0 collections")
    assert "GiB" in checks["room"]["detail"]
    assert environ["ARANGO_PASSWORD"] not in ran.stdout + ran.stderr
