"""What the request's token may do: the route, and the JSON that it answers."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from streamforge.manager.answers import meaning, one_of
from streamforge.manager.api.guard import role_of
from streamforge.manager.api.routing import StrictRoute, gives, reply
from streamforge.version import installed_version


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """What the request's token may do."""

    role: Annotated[str, one_of(("reader", "operator")), meaning("reader: every GET. operator: everything.")]
    version: Annotated[str, meaning("Of the queue-manager.")]


router = APIRouter(route_class=StrictRoute, tags=["catalogue"])


@router.get("/access", responses=gives(Access), summary="What the request's token may do")
async def access(request: Request) -> Response:
    return reply(Access(role=role_of(request.scope).value, version=installed_version()))
