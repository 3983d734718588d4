"""The route of the dead letters of all workflows."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from streamforge.manager.api.routing import In, StrictRoute, gives, reply
from streamforge.manager.dead_letters.answers import LetterCountsPage

router = APIRouter(route_class=StrictRoute, tags=["workflows"])


@router.get("/dead-letters", responses=gives(LetterCountsPage), summary="List the workflows that have dead letters")
async def find(
    to: In,
    cursor: Annotated[str | None, Query(max_length=300, description="Of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="At most so many.")] = 50,
) -> Response:
    return reply(await to.service.dead_letter_counts.page(cursor=cursor, limit=limit))
