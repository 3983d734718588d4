"""The exchange ends while a workflow loads from it."""

from __future__ import annotations

from pathlib import Path

from tests.e2e import rig

LOADER = "loader-api-candles"


def test_while_the_exchange_is_dead_the_workflow_names_it_and_nothing_else(tmp_path: Path) -> None:
    settings = {"STREAMFORGE_REQUEST_ATTEMPTS": "20"}  # its first attempt is still trying when the test ends
    exchange = rig.Exchange()
    try:
        with rig.manager(tmp_path / "data", exchange.url, **settings) as manager:
            exchange.switch_on("slow:ms=300,path=klines")
            queue_id: str = manager.start_load("BTCUSDT", "api_candles_1m", "2024-05-01:2024-05-21")["queue_id"]
            manager.until(queue_id, "some is stored", lambda w: w["progress"]["records_stored"] > 0)
            exchange.close()
            manager.until(queue_id, "it names the exchange", lambda w: exchange.url in (w["waiting_for"] or ""))
            manager.until(queue_id, "the sink has nothing to do", _starved)
            assert exchange.url in manager.show(queue_id)["waiting_for"], manager.story(queue_id)
            listed = manager.api.get("/queues").raise_for_status().json()["queues"]
            assert exchange.url in listed[0]["waiting_for"]
            manager.post(f"/queues/{queue_id}/stop")
            assert manager.wait(queue_id)["status"] == "interrupted"
    finally:
        exchange.close()


def _starved(workflow: rig.Json) -> bool:
    sink = next(step for step in workflow["steps"] if step["role"] == "sink")
    return f"end of stream of {LOADER}" in (sink["progress"]["waiting"] or "")
