"""The route of plans: what a load would do, before it is started."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from streamforge.manager import plan_answers
from streamforge.manager.api.request_bodies import Start
from streamforge.manager.api.routing import In, StrictRoute, gives, reply

router = APIRouter(route_class=StrictRoute, tags=["workflows"])


@router.post(
    "/plans",
    responses=gives(plan_answers.Forecast),
    summary="See what a workflow would load and take",
    description="Takes what `POST /queues/start` takes. The exchange and its archive are asked; nothing is started or "
    "stored.",
)
async def forecast(body: Start, to: In) -> Response:
    return reply(await to.service.forecast(body.request()))
