"""Several managers and commands on one database: one drives its workflows, the others are told, or only read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import storeenv
from tests.arango.servers import Databases
from tests.arango.test_commands import command
from tests.e2e import rig
from tests.e2e.conftest import exchange, quiet

__all__ = ["exchange", "quiet"]

pytestmark = pytest.mark.timeout(240)

WHAT = ("ETHUSDT", "api_candles_1h", "2024-08-01")


def test_a_second_manager_is_refused_by_name_until_the_first_has_ended(
    databases: Databases, quiet: rig.Exchange, tmp_path: Path
) -> None:
    with storeenv.instead(databases), rig.manager(tmp_path / "first", quiet.url) as first:
        environ = storeenv.environment(first.data)
        second = tmp_path / "second"
        running = first.start_load("BTCUSDT", "api_candles_1m", "2023-01-01:2024-01-01")
        for arguments in (("load", *WHAT), ("up", "--port", "0")):
            refused = command(environ, second, *arguments, "--exchange", quiet.url)
            assert refused.returncode == 2, refused.stderr
            assert "another manager drives the workflows of this database" in refused.stderr
            assert f"data in {first.data}" in refused.stderr
            assert f"--server {str(first.api.base_url).rstrip('/')}" in refused.stderr
        workflow = first.wait(running["queue_id"])
        assert workflow["status"] == "finished", first.story(running["queue_id"])
        assert [len(step["attempts"]) for step in workflow["steps"]] == [1, 1], "nobody took its jobs away"
        first.kill()
        first.start()  # of the same folder: at once
        done = first.load(*WHAT)
        assert done["status"] == "finished"
        assert first.stop() == 0
        loaded = command(environ, second, "load", *WHAT[:2], "2024-08-02", "--exchange", quiet.url, "--json")
        assert loaded.returncode == 0, loaded.stderr
        assert json.loads(loaded.stdout)["records_stored"] == 24


def test_what_is_stored_is_read_from_a_folder_that_loaded_nothing(
    databases: Databases, quiet: rig.Exchange, tmp_path: Path
) -> None:
    with storeenv.instead(databases):
        environ = storeenv.environment(tmp_path / "loaded")
    loaded = command(environ, tmp_path / "loaded", "load", *WHAT, "--exchange", quiet.url, "--json")
    assert loaded.returncode == 0, loaded.stderr
    queue_id = json.loads(loaded.stdout)["queue_id"]

    def told(name: str, *arguments: str) -> str:
        ran = command(environ, tmp_path / name, *arguments)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    for number, arguments in enumerate(
        [
            ("export", *WHAT, "--format", "csv"),
            ("coverage", *WHAT, "--json"),
            ("show", queue_id, "--json"),
            ("queues", "--json"),
            ("events", queue_id, "--json"),
        ]
    ):
        assert told(f"new{number}", *arguments) == told("loaded", *arguments)
    assert told("new0", "export", *WHAT, "--format", "csv").count("\n") == 25
