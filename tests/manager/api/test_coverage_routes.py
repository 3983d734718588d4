from __future__ import annotations

import httpx

from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.series import Series
from tests.manager.api.support import (
    COLLECTION,
    DAY_MS,
    SEGMENTS,
    START_MS,
    problem,
    started,
)
from tests.manager.memory_service import MemoryService


async def test_coverage_of_a_workflow_gives_segments_and_sums(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    workflow = await started(service)
    await service.know(workflow.series, SEGMENTS)

    body = (await client.get(f"/queues/{workflow.queue_id}/coverage")).json()

    assert (body["queue_id"], body["symbol"], body["type"]) == (workflow.queue_id, "BTCUSDT", "api_candles_1m")
    assert body["complete"] is False
    assert [(v["verdict"], v["segments"], v["seconds"], v["records"]) for v in body["verdicts"]] == [
        ("stored", 1, 60_000.0, 1000),
        ("exchange", 1, 600.0, 0),
        ("ours", 1, 25_800.0, 0),
    ]
    assert body["segments"][0] == {
        "start": "2024-08-01T00:00:00Z",
        "end": "2024-08-01T16:40:00Z",
        "start_ms": START_MS,
        "end_ms": START_MS + 60_000_000,
        "verdict": "stored",
        "collection": COLLECTION,
        "records": 1000,
    }


async def test_coverage_of_a_series_is_all_or_the_range_asked_for(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    whole_day = Segment(start_ms=START_MS, end_ms=START_MS + DAY_MS, verdict=Verdict.STORED, collection=COLLECTION)
    await service.know(Series("BTCUSDT", "candles", "1m"), [whole_day])

    whole = (await client.get("/coverage/btcusdt/api_candles_1m")).json()
    part = (await client.get("/coverage/BTCUSDT/api_candles_1m?time_range=2024-08-01T12:00Z:2024-08-03")).json()
    life = (await client.get("/coverage/BTCUSDT/api_candles_1m?life=true")).json()
    nothing = await client.get("/coverage/ETHUSDT/api_candles_1m")
    both = await client.get("/coverage/BTCUSDT/api_candles_1m?life=true&time_range=2024-08")

    assert (whole["queue_id"], whole["symbol"], whole["complete"]) == (None, "BTCUSDT", True)
    assert [(s["verdict"], s["start"], s["end"]) for s in part["segments"]] == [
        ("stored", "2024-08-01T12:00:00Z", "2024-08-02T00:00:00Z"),
        ("unknown", "2024-08-02T00:00:00Z", "2024-08-02T12:00:00Z"),
        ("pending", "2024-08-02T12:00:00Z", "2024-08-03T00:00:00Z"),
    ]
    assert part["complete"] is False
    assert whole["span"] == {
        "basis": "asked",
        "start": "2024-08-01T00:00:00Z",
        "end": "2024-08-02T00:00:00Z",
        "start_ms": START_MS,
        "end_ms": START_MS + DAY_MS,
    }
    assert (part["span"]["basis"], life["span"]["basis"], part["segments"][0]["records"]) == ("range", "life", 720)
    problem(nothing, 404, "not-found")
    assert problem(both, 422, "invalid-input")["errors"][0]["field"] == "life"
