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
from tests.e2e import test_topics as topics


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


@pytest.mark.long
def test_a_topic_of_others_is_stored_there_with_its_keys_through_a_kill_of_the_sink(
    double: ArangoProcess, quiet: rig.Exchange, tmp_path: Path
) -> None:
    with rig.manager(tmp_path / "data", quiet.url) as manager:
        topics.make(manager.data, "orders")
        topics.write(manager.data, "orders", [*topics.numbered(0, 8_000), *topics.BAD])
        double.fail("cut-after", method="POST", path="_api/document/orders", times=1)
        whole = 16_000 + len(topics.BAD)
        queue_id = topics.start(manager, "orders", collection_name="orders", until=f"count:{whole}")
        manager.until(queue_id, "some is stored", lambda found: bool(rig.step(found, topics.CONNECTOR)["records"]))
        manager.kill_worker(queue_id, topics.CONNECTOR)
        topics.write(manager.data, "orders", topics.numbered(8_000, 16_000))
        workflow = manager.finished(queue_id)
        assert topics.stored(manager, "orders") == list(range(16_000))
        assert topics.partition(workflow) == {"end": whole, "stored": 16_000, "dead": len(topics.BAD)}
        database = backends.store_environment(manager.data)["ARANGO_DB"]
    there = double.ask("GET", f"/_db/{database}/_api/document/orders/n00000001")
    assert there["n"] == 1
    assert there["_version"] > 1_700_000_000_000
