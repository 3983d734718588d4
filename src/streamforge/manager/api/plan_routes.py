"""The routes of what may be started: what a load would do and take, and the request for another one like it."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter
from pydantic import Discriminator, Tag
from starlette.responses import Response

from streamforge.manager import plan_answers, start_answers
from streamforge.manager.api.error_answers import AGAIN, MANY, ONE
from streamforge.manager.api.request_bodies import Start
from streamforge.manager.api.routing import SCHEMAS, In, QueueId, StrictRoute, reply
from streamforge.manager.batches.requests import BatchRequest
from streamforge.manager.batches.routes import StartBatch
from streamforge.manager.engine.registry import form_of
from streamforge.manager.presentation import up_to_date_answer
from streamforge.manager.schedules.routes import AddSchedule
from streamforge.manager.use_cases import UpToDate

_ANSWERS = (plan_answers.Forecast.__name__, plan_answers.BatchForecast.__name__, start_answers.UpToDate.__name__)
router = APIRouter(route_class=StrictRoute, tags=["workflows"])


def _form(body: Any) -> str:
    if not isinstance(body, dict):
        return ONE
    return AGAIN if "cron" in body else MANY if "symbols" in body else ONE


PlanRequest = Annotated[
    Annotated[Start, Tag(ONE)] | Annotated[StartBatch, Tag(MANY)] | Annotated[AddSchedule, Tag(AGAIN)],
    Discriminator(_form),
]


@router.post(
    "/plans",
    responses={
        200: {"content": {"application/json": {"schema": {"anyOf": [{"$ref": f"{SCHEMAS}{one}"} for one in _ANSWERS]}}}}
    },
    summary="See what a workflow, a batch or a schedule would load and take",
    description="Takes what `POST /queues/start` takes, or with `symbols` what `POST /batches` takes, or with `cron` "
    "what `POST /schedules` takes: then it tells what a run would load that began now. Of very many symbols some are "
    "looked at, and the sums are scaled up. The exchange and its archive are asked; nothing is "
    "started or stored.",
)
async def forecast(body: PlanRequest, to: In) -> Response:
    if isinstance(body, AddSchedule):
        request = await to.service.schedules.request(body.name, body.definition())
    else:
        request = body.request()
    if isinstance(request, BatchRequest):
        return reply(await to.service.batch_forecaster.of(request))
    try:
        return reply(await to.service.forecaster.of(request))
    except UpToDate as found_nothing:
        return reply(up_to_date_answer(found_nothing))


@router.get(
    "/queues/{queue_id}/request",
    responses={200: {"content": {"application/json": {"schema": {"$ref": SCHEMAS + Start.__name__}}}}},
    summary="The request that would start a workflow like this one",
    description="A body for `POST /queues/start`, with what differs from the defaults alone. A relative range keeps "
    "its words.",
)
async def request(queue_id: QueueId, to: In) -> Response:
    workflow = await to.service.get(queue_id)
    found = form_of(workflow).requested(workflow)
    return Response(msgspec.json.encode(found), media_type="application/json")
