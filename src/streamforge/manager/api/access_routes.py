"""The route that says what the request's token may do."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from streamforge.manager import access_answers
from streamforge.manager.api.guard import role_of
from streamforge.manager.api.routing import StrictRoute, gives, reply
from streamforge.version import installed_version

router = APIRouter(route_class=StrictRoute, tags=["catalogue"])


@router.get("/access", responses=gives(access_answers.Access), summary="What the request's token may do")
async def access(request: Request) -> Response:
    return reply(access_answers.Access(role=role_of(request.scope).value, version=installed_version()))
