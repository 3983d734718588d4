"""Collections and records that ArangoDB cannot take: each is named, with what to do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import storeenv
from tests.arango import servers
from tests.doubles.arangoprocess import ArangoProcess
from tests.e2e import rig
from tests.e2e.conftest import exchange, quiet

__all__ = ["exchange", "quiet"]

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def manager(shared_double: ArangoProcess, quiet: rig.Exchange, tmp_path: Path) -> Iterator[rig.Manager]:
    with storeenv.instead(servers.databases(shared_double)), rig.manager(tmp_path / "data", quiet.url) as found:
        yield found


def test_a_collection_of_another_type_ends_the_workflow_and_is_named(
    manager: rig.Manager, shared_double: ArangoProcess
) -> None:
    database = storeenv.environment(manager.data)["ARANGO_DB"]
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
