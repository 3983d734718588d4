"""The route of the manager's own health."""

from __future__ import annotations

from fastapi import APIRouter
from msgspec.structs import replace
from starlette.responses import Response

from streamforge.manager.api import ui_files
from streamforge.manager.api.routing import In, StrictRoute, gives, reply
from streamforge.manager.health import answers as health_answers

router = APIRouter(route_class=StrictRoute, tags=["health"])


@router.get(
    "/health",
    responses=gives(health_answers.HealthReport),
    summary="What works and what does not, with what to do; versions, limits and settings",
    description="Status 200 also where something is wrong: probes ask /healthz and /readyz. Secrets are never in it, "
    "and of addresses only scheme, host and port are.",
)
async def health(to: In) -> Response:
    found = await to.service.health.look()
    return reply(replace(found, versions=replace(found.versions, ui=ui_files.script())))
