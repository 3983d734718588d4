"""The closer word that a problem has beside its type."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from streamforge_utils.ports.exchange import SymbolInfo
from tests.manager.api.support import REQUEST, UNKNOWN, problem
from tests.manager.memory_service import MemoryService

NO_SYMBOL = {**REQUEST, "symbol": "NOSUCH"}
BATCH = {"symbols": ["NOSUCH"], "type": "api_candles_1m", "time_range": "2024-08-01"}


@pytest.mark.parametrize(
    ("path", "body", "status", "kind", "code"),
    [
        (f"/queues/{UNKNOWN}", None, 404, "not-found", "workflow-unknown"),
        ("/queues/none", None, 404, "not-found", "workflow-unknown"),
        ("/batches/none", None, 404, "not-found", "batch-unknown"),
        ("/schedules/none", None, 404, "not-found", "schedule-unknown"),
        ("/coverage/BTCUSDT/api_candles_1m", None, 404, "not-found", "series-unknown"),
        ("/collections/none/records", None, 404, "not-found", "collection-unknown"),
        ("/schemas/none", None, 404, "not-found", "not-found"),
        ("/nothing", None, 404, "not-found", "not-found"),
        (f"/queues?cursor={UNKNOWN}", None, 422, "invalid-input", "cursor-unknown"),
        ("/queues?limit=0", None, 422, "invalid-input", "invalid-input"),
        ("/queues/start", NO_SYMBOL, 422, "invalid-input", "symbol-unknown"),
        ("/batches", BATCH, 422, "invalid-input", "symbol-unknown"),
    ],
)
async def test_a_code_is_as_close_as_is_known(
    client: httpx.AsyncClient,
    service: MemoryService,
    path: str,
    body: dict[str, Any] | None,
    status: int,
    kind: str,
    code: str,
) -> None:
    response = await (client.get(path) if body is None else client.post(path, json=body))
    problem(response, status, kind, code)


async def test_what_was_meant_by_a_symbol_is_told_to_programs_too(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    service.exchange.listed = [
        SymbolInfo(symbol="NOSUCHUSDC", status="TRADING", base_asset="NOSUCH", quote_asset="USDC")
    ]
    told = problem(await client.post("/queues/start", json=NO_SYMBOL), 422, "invalid-input", "symbol-unknown")
    assert told["did_you_mean"] == ["NOSUCHUSDC"]
    assert told["errors"][0]["field"] == "symbol"
