"""Requests made from our own description: no answer is a 500, and each is what the description says."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import AsyncMock

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from streamforge.manager.answers import QUEUE_ID
from streamforge.manager.api.app import create_app
from streamforge.manager.use_cases import StartRequest
from streamforge.manager.workflows.series.model import loaded_series
from tests.manager.api.support import (
    COLLECTION,
    MINUTE_MS,
    OPERATOR,
    SEGMENTS,
    START_MS,
    TOKENS,
    candles,
    event,
    failed,
    replace,
)
from tests.manager.memory_service import MemoryService

# The requests are drawn while tests are collected.
pytestmark = pytest.mark.e2e

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


service = asyncio.run(MemoryService.made())
vars(service.exchange)["candles"] = AsyncMock(return_value=[])  # of every interval: plans ask for any
started, *_ = asyncio.run(service.start(StartRequest(symbol="BTCUSDT", type="api_candles_1m", time_range="2024-08-01")))
workflow = replace(failed(started, SEGMENTS), queue_id=QUEUE_ID)  # the one that the examples of the description name
app = create_app(service, tokens=TOKENS)
app.state.context.followers.closing.set()  # a stream that would never end does so at once
schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers={"Authorization": f"Bearer {OPERATOR}"})


async def fill() -> None:
    store = service.world.store
    store.states.clear()
    store.documents.clear()
    await service.world.deps.workflows.load()
    await service.put(workflow)
    await service.event(event(workflow, "error", error_message="x", finished=True))
    await service.store(COLLECTION, candles(3))
    await service.know(loaded_series(workflow), [replace(SEGMENTS[0], end_ms=START_MS + 3 * MINUTE_MS), *SEGMENTS[1:]])


@schema.parametrize()
@settings(
    max_examples=40,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_request_breaks_the_api(case: Case[Any]) -> None:
    asyncio.run(fill())
    answer = case.call_and_validate(headers={"Authorization": f"Bearer {OPERATOR}"}, checks=CHECKS)
    if case.path.startswith("/queues/start") and answer.status_code != 202:
        assert asyncio.run(service.ids()) == [QUEUE_ID], "it was refused, and left something"
