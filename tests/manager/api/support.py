"""What the tests of the API share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import msgspec
from fastapi import FastAPI

from streamforge.manager.api.tokens import Access, Tokens
from streamforge.manager.engine.document import Attempt, Failure, Status, StepStatus, Workflow
from streamforge.manager.problem_codes import ProblemCode
from streamforge.manager.use_cases import StartRequest
from streamforge.manager.workflows.series.model import Plan, SeriesProof
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.kinds.candles import Candle
from streamforge_utils.model.messages import Event, Progress
from tests.doubles.candles import candle_key
from tests.manager.memory_service import MemoryService
from tests.manager.support import changed, rest

LOCAL = "http://127.0.0.1:8080"
READER, OPERATOR = "reader-token-0123456789", "operator-token-0123456789"
TOKENS = Tokens([(Access.READER, READER), (Access.OPERATOR, OPERATOR)])
DAY_MS = 86_400_000
START_MS = 1_722_470_400_000  # 2024-08-01
MINUTE_MS = 60_000
COLLECTION = "btcusdt_api_candles_1m_2024_08_01"
REQUEST = {"symbol": "BTCUSDT", "type": "api_candles_1m", "time_range": "2024-08-01"}
UNKNOWN = "wf-btcusdt-api_candles_1m-20240801-zzzzzz"

replace = msgspec.structs.replace


def client_of(app: FastAPI, token: str | None = None, *, base_url: str = LOCAL) -> httpx.AsyncClient:
    """A client of the app, without a socket."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base_url, headers=headers)


async def started(service: MemoryService, **fields: Any) -> Workflow:
    """A workflow, accepted."""
    workflow, *_ = await service.start(StartRequest(**{**REQUEST, **fields}))
    return workflow


def problem(response: httpx.Response, status: int, kind: str, code: str | None = None) -> dict[str, Any]:
    """The problem document that `response` must be. code: None: any that there is."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert set(body) == {"type", "code", "title", "status", "detail", "instance", "next_step", "errors", "did_you_mean"}
    assert body["type"] == f"urn:streamforge:problem:{kind}"
    assert body["status"] == status
    assert body["code"] == (code or ProblemCode(body["code"]))
    assert body["detail"]
    assert body["next_step"]
    assert "Traceback" not in response.text
    for error in body["errors"]:
        assert error["field"]
        assert error["message"]
        assert error["next_step"]
    return body


def candles(count: int, *, first_ms: int = START_MS) -> list[Candle]:
    """Consecutive minutes; every number is another."""
    return [_candle(first_ms + index * MINUTE_MS, index) for index in range(count)]


def _candle(open_time: int, index: int) -> Candle:
    return Candle(
        key=candle_key("BTCUSDT", "1m", open_time),
        version=START_MS + DAY_MS,
        symbol="BTCUSDT",
        interval="1m",
        open_time=open_time,
        open=f"{64_000 + index}.10000000",
        high=f"{64_001 + index}.30000000",
        low=f"{63_999 + index}.00000000",
        close="0.00000001",
        volume="123456789012.12345678",
        close_time=open_time + MINUTE_MS - 1,
        quote_asset_volume="654690.62154600",
        number_of_trades=816 + index,
        taker_buy_base_asset_volume="3.28471000",
        taker_buy_quote_asset_volume="0.00000000",
    )


def event(workflow: Workflow, name: str = "loading", **fields: Any) -> Event:
    """What the workflow's sink says."""
    sink = workflow.steps[-1]
    values: Mapping[str, Any] = {
        "event": name,
        "status": name,
        "queue_id": workflow.queue_id,
        "producer": sink.telemetry_id,
        "target": sink.target,
        "symbol": workflow.symbol,
        "type": workflow.type,
        "timestamp": 1722600001.5,
    }
    return Event(**{**values, **fields})


def running(workflow: Workflow, *, stored: int = 720, rate: float = 144.0) -> Workflow:
    """The workflow, half loaded: its steps run their first attempt."""
    steps = []
    for step in workflow.steps:
        attempt = Attempt(
            number=1,
            job=f"job-{step.target}-btcusdt-000001",
            planned_ms=workflow.created_ms,
            observed=True,
            started_ms=workflow.created_ms + 1500,
            seen_ms=workflow.created_ms + 6000,
            progress=Progress(
                records=stored, rate=rate, share=0.5, lag=3, waiting="weight", waiting_until=1722600060.0
            ),
        )
        steps.append(replace(step, status=StepStatus.RUNNING, attempts=(attempt,)))
    plan = Plan(exchange_now_ms=workflow.created_ms, parts=rest("2024-08-01"), expected=1440)
    return changed(workflow, status=Status.RUNNING, plan=plan, steps=tuple(steps))


def failed(workflow: Workflow, segments: Sequence[Segment]) -> Workflow:
    """The workflow, ended by an error after a proof that found `segments`."""
    workflow = running(workflow)
    steps = []
    for step in workflow.steps:
        first = step.attempts[0]
        ended = replace(
            first,
            terminal_event="error",
            error="the store does not answer",
            exit_code=1,
            reason="exit code 1: the store does not answer",
            ended_ms=workflow.created_ms + 9000,
        )
        failure = Failure(reason="3 attempts failed", next_step="look at the store, then retry")
        steps.append(replace(step, status=StepStatus.ERROR, attempts=(ended,), failure=failure))
    return changed(
        workflow,
        status=Status.ERROR,
        steps=tuple(steps),
        proof=SeriesProof(
            round=1, checked_ms=workflow.created_ms + 9500, expected=1440, stored=1000, segments=tuple(segments)
        ),
        failure=Failure(
            code="attempts-failed",
            reason="arango-candles: 3 attempts failed",
            next_step="look at the store, then retry",
        ),
        ended_ms=workflow.created_ms + 10_000,
    )


SEGMENTS = (
    Segment(
        start_ms=START_MS,
        end_ms=START_MS + 1000 * MINUTE_MS,
        verdict=Verdict.STORED,
        collection=COLLECTION,
        records=1000,
    ),
    Segment(start_ms=START_MS + 1000 * MINUTE_MS, end_ms=START_MS + 1010 * MINUTE_MS, verdict=Verdict.EXCHANGE),
    Segment(start_ms=START_MS + 1010 * MINUTE_MS, end_ms=START_MS + DAY_MS, verdict=Verdict.OURS),
)
