"""The route of plans: what a load would do, before it is started."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from streamforge.manager import plan_answers, start_answers
from streamforge.manager.api.request_bodies import Start
from streamforge.manager.api.routing import SCHEMAS, In, StrictRoute, reply
from streamforge.manager.presentation import up_to_date_answer
from streamforge.manager.service import UpToDate

_ANSWERS = (plan_answers.Forecast.__name__, start_answers.UpToDate.__name__)
router = APIRouter(route_class=StrictRoute, tags=["workflows"])


@router.post(
    "/plans",
    responses={
        200: {"content": {"application/json": {"schema": {"anyOf": [{"$ref": f"{SCHEMAS}{one}"} for one in _ANSWERS]}}}}
    },
    summary="See what a workflow would load and take",
    description="Takes what `POST /queues/start` takes. The exchange and its archive are asked; nothing is started or "
    "stored.",
)
async def forecast(body: Start, to: In) -> Response:
    try:
        return reply(await to.service.forecast(body.request()))
    except UpToDate as found_nothing:
        return reply(up_to_date_answer(found_nothing))
