"""Collections and records that ArangoDB cannot take: each is named, with what to do, and the rest is stored."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamforge_utils.model.kinds.candles import KIND
from streamforge_utils.ports.bus import Message
from tests import backends
from tests.arango import servers
from tests.doubles import arangoprocess
from tests.doubles.arangoprocess import ArangoProcess
from tests.e2e import bus, rig
from tests.e2e.conftest import exchange, quiet
from tests.e2e.test_dead_letters import record

__all__ = ["exchange", "quiet"]

START_MS, HOURS = 1_722_470_400_000, 24
TAKEN_MS = (1_600_000_000_000, 1_600_000_060_000)
"""Minutes of which somebody else has documents."""


@pytest.fixture
def manager(shared_double: ArangoProcess, quiet: rig.Exchange, tmp_path: Path) -> Iterator[rig.Manager]:
    with backends.on_store(servers.databases(shared_double)), rig.manager(tmp_path / "data", quiet.url) as found:
        yield found


def test_a_collection_of_another_type_ends_the_workflow_and_is_named(
    manager: rig.Manager, shared_double: ArangoProcess
) -> None:
    database = backends.store_environment(manager.data)["ARANGO_DB"]
    shared_double.ask("POST", f"/_db/{database}/_api/collection", {"name": "taken_by_edges", "type": 3})
    body = {
        "symbol": "BTCUSDT",
        "time_range": "2024-08-01",
        "microservices": [
            {"target": "arango-candles", "type": "api_candles_1h", "collection_name": "taken_by_edges"},
            {"target": "loader-api-candles", "type": "api_candles_1h", "interval": "1h"},
        ],
    }
    answer = manager.api.post("/queues/start-pipeline", json=body)
    assert answer.status_code == 202, answer.text
    queue_id = answer.json()["queue_id"]
    workflow = manager.wait(queue_id)
    assert workflow["status"] == "error", manager.story(queue_id)
    told = manager.story(queue_id)
    assert "taken_by_edges is one of edges" in told
    assert "choose another name (COLLECTION_NAME" in told
    (sink,) = [step for step in workflow["steps"] if step["target"] == "arango-candles"]
    assert [attempt["exit_code"] for attempt in sink["attempts"]] == [2], "it is not tried again"


@pytest.fixture(params=["3.12.10", "3.11.14"])
def double(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ArangoProcess]:
    """A double of a test's own, of either way to keep the newer document; the managers of the test use it."""
    with (
        arangoprocess.running(tmp_path / "double", version=request.param) as found,
        backends.on_store(servers.databases(found)),
    ):
        yield found


@pytest.mark.parametrize("double", ["3.12.10"], indirect=True)
def test_records_that_the_server_refuses_once_are_dead_letters_and_the_repair_stores_them(
    double: ArangoProcess, quiet: rig.Exchange, tmp_path: Path
) -> None:
    with rig.manager(tmp_path / "data", quiet.url) as manager:
        double.fail("element", number=1620, path="_api/document/btcusdt", skip=5, times=2)
        workflow = manager.load("BTCUSDT", "api_candles_1h", "2024-08-01")
        assert workflow["status"] == "finished", manager.story(workflow["queue_id"])
        assert double.hits("element") == 2
        letters = _letters(manager, workflow)
        assert [(letter["key"], letter["offset"]) for letter in letters] == [(_key(5), 5), (_key(6), 6)]
        for letter in letters:
            assert f"{letter['key']!r} is refused by ArangoDB (error 1620)" in letter["reason"]
        assert workflow["repairs"] == 1
        assert manager.csv(workflow["collection"]) == _lines(quiet)


def test_records_in_the_way_of_somebody_elses_are_dead_letters_until_that_is_gone_and_they_are_replayed(
    double: ArangoProcess, quiet: rig.Exchange, tmp_path: Path
) -> None:
    with rig.manager(tmp_path / "data", quiet.url) as manager:
        api = f"/_db/{backends.store_environment(manager.data)['ARANGO_DB']}/_api"
        collection = "btcusdt_api_candles_1m_2024_05_01"
        double.ask("POST", f"{api}/collection", {"name": collection})
        index = {"type": "persistent", "fields": ["open_time"], "unique": True}
        double.ask("POST", f"{api}/index?collection={collection}", index)
        theirs = [{"_key": f"theirs-{time}", "open_time": time} for time in TAKEN_MS]
        double.ask("POST", f"{api}/document/{collection}", theirs)

        quiet.switch_on("slow:ms=1000,path=klines")
        queue_id = manager.start_load("BTCUSDT", "api_candles_1m", "2024-05-01")["queue_id"]
        # Its topic is there, and the loader has not even begun.
        topic = manager.until(queue_id, "the sink is launched", lambda w: any(s["attempts"] for s in w["steps"]))[
            "topic"
        ]
        records = [record("BTCUSDT", time) for time in TAKEN_MS]
        bus.send(manager.data, topic, [Message(one["_key"].encode(), json.dumps(one).encode()) for one in records])
        workflow = manager.wait(queue_id)
        assert workflow["status"] == "finished", manager.story(queue_id)
        span = workflow["time_range"]
        rows = quiet.oracle("BTCUSDT", "1m", span["start_ms"], span["end_ms"])
        assert _stored(manager, collection) == rig.expected_csv("BTCUSDT", "1m", rows)[1:]
        letters = _letters(manager, workflow)
        assert [letter["key"] for letter in letters] == [one["_key"] for one in records]
        sent = {received.offset: received.value for received in bus.read(manager.data, topic)}
        assert [json.loads(sent[letter["offset"]]) for letter in letters] == records
        for letter, time in zip(letters, TAKEN_MS, strict=True):
            assert letter["key"] in letter["reason"]
            assert "error 1210" in letter["reason"]
            assert f"conflicting key: theirs-{time}" in letter["reason"]

        for time in TAKEN_MS:
            double.ask("DELETE", f"{api}/document/{collection}/theirs-{time}")
        manager.post(f"/queues/{queue_id}/dlq/replay")
        assert manager.wait(queue_id)["status"] == "finished", manager.story(queue_id)
        assert _letters(manager, workflow) == []
        assert [line.split(",")[2] for line in _stored(manager, collection)[:2]] == [str(time) for time in TAKEN_MS]
        assert len(_stored(manager, collection)) == len(rows) + len(TAKEN_MS)


def _stored(manager: rig.Manager, collection: str) -> list[str]:
    """The lines of the candles there; what is no candle has columns of its own."""
    rows = csv.DictReader(manager.csv(collection))
    return [",".join(row[column] for column in KIND.columns) for row in rows if row["symbol"] == "BTCUSDT"]


def _letters(manager: rig.Manager, workflow: rig.Json) -> list[rig.Json]:
    answer = manager.api.get(f"/queues/{workflow['queue_id']}/dlq").raise_for_status()
    letters: list[rig.Json] = answer.json()["dead_letters"]
    return letters


def _lines(exchange: rig.Exchange) -> list[str]:
    rows = exchange.oracle("BTCUSDT", "1h", START_MS, START_MS + HOURS * rig.HOUR_MS)
    assert len(rows) == HOURS
    return rig.expected_csv("BTCUSDT", "1h", rows)


def _key(hour: int) -> str:
    return f"BTCUSDT_1h_{START_MS + hour * rig.HOUR_MS}"
