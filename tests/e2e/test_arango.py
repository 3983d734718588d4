"""A workflow whose store is ArangoDB, on the double: the part in `make test` (the rest is in `make test-double`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import backends
from tests.arango import servers
from tests.doubles import arangoprocess
from tests.doubles.arangoprocess import ArangoProcess
from tests.e2e import rig


@pytest.fixture
def double(tmp_path: Path) -> Iterator[ArangoProcess]:
    """A double of a test's own; the managers of the test use it."""
    with arangoprocess.running(tmp_path / "double") as found, backends.on_store(servers.databases(found)):
        yield found


def test_a_day_is_stored_there_proven_and_exported_as_from_files(
    double: ArangoProcess, quiet: rig.Exchange, tmp_path: Path
) -> None:
    with rig.manager(tmp_path / "data", quiet.url) as manager:
        workflow = manager.loaded("BTCUSDT", "api_candles_1m", "2024-08-01")
        name, rows = workflow["collection"], rig.assert_exact(quiet, manager, workflow)
        records = manager.api.get(f"/collections/{name}/records", params={"limit": 2}).json()["records"]
        assert list(records[0])[:4] == ["symbol", "interval", "open_time", "open"]
        assert manager.coverage(workflow["queue_id"])[0]["collection"] == name
        database = backends.store_environment(manager.data)["ARANGO_DB"]
        assert not (manager.data / "store").exists(), "something lies in the embedded store"
    there = double.ask("GET", f"/_db/{database}/_api/document/{name}/BTCUSDT_1m_1722470400000")
    assert there["open_time"] == 1_722_470_400_000
    assert there["_version"] > there["open_time"]
    assert json.loads(json.dumps(there["open"])) == float(rows[0][1])


def test_a_store_that_is_killed_and_fails_in_the_middle_loses_and_doubles_nothing(
    double: ArangoProcess, quiet: rig.Exchange, tmp_path: Path
) -> None:
    quiet.switch_on("slow:ms=150,path=klines")
    with rig.manager(tmp_path / "data", quiet.url) as manager:
        # Written, and not answered: sent again, it is there once.
        double.fail("cut-after", method="POST", path="_api/document/ethusdt", times=2)
        queue_id = manager.start_load("ETHUSDT", "api_candles_1m", "2024-05-01:2024-05-08")["queue_id"]
        rig.eventually(lambda: double.hits("cut-after") >= 2 or None, "answers got lost")
        double.fail("queue-full", share=0.3)
        double.restart()  # which ends the faults
        assert len(rig.assert_exact(quiet, manager, manager.finished(queue_id))) == 7 * 1440
