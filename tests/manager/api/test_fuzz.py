"""Requests made from our own description: no answer is a 500, and each is what the description says."""

from __future__ import annotations

import asyncio
from typing import Any

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
from streamforge.manager.service import StartRequest
from tests.doubles.service import ServiceDouble
from tests.manager.api.support import COLLECTION, OPERATOR, SEGMENTS, TOKENS, candles, event, failed, replace

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


service = ServiceDouble()
started, *_ = asyncio.run(service.start(StartRequest(symbol="BTCUSDT", type="api_candles_1m", time_range="2024-08-01")))
workflow = replace(failed(started, SEGMENTS), queue_id=QUEUE_ID)  # the one that the examples of the description name
schema = schemathesis.openapi.from_asgi(
    "/openapi.json", create_app(service, tokens=TOKENS), headers={"Authorization": f"Bearer {OPERATOR}"}
)


def fill() -> None:
    service.workflows.clear()
    service.history.clear()
    service.put(workflow)
    service.say(event(workflow, "error", error_message="x", finished=True))
    service.known[workflow.series] = list(SEGMENTS)
    service.store(COLLECTION, candles(3))


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
    fill()
    case.call_and_validate(headers={"Authorization": f"Bearer {OPERATOR}"}, checks=CHECKS)
