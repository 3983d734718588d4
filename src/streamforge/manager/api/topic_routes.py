"""The routes of the bus' topics."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from streamforge.manager import topic_answers, topic_lag
from streamforge.manager.api.routing import In, StrictRoute, gives, reply

router = APIRouter(route_class=StrictRoute, tags=["topics"])

_NAME = 249
"""The longest name of a topic."""


@router.get(
    "/topics",
    responses=gives(topic_answers.TopicPage),
    summary="List the topics of workflows, and how far they are read",
    description="Each is looked at when it is asked for: a rate needs an earlier look, a second before at least.",
)
async def find(
    to: In,
    queue_id: Annotated[str | None, Query(max_length=300, description="Those of this workflow alone.")] = None,
    kind: Annotated[topic_answers.Kind | None, Query(description="Those on which this lies.")] = None,
    search: Annotated[str, Query(max_length=_NAME, description="What is in the name, in any case.")] = "",
    sort: Annotated[
        topic_answers.Order,
        Query(
            description=(
                "By name from A on, by a number the greatest first, what is not known last: of all topics that fit, "
                f"{topic_lag.MOST_SORTED} at most, as they were in the last {topic_lag.SORTED_FOR_S:g} seconds."
            )
        ),
    ] = "name",
    cursor: Annotated[str | None, Query(max_length=_NAME, description="Of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="At most so many.")] = 50,
) -> Response:
    page = await to.service.topics.page(
        queue_id=queue_id, kind=kind, search=search, sort=sort, cursor=cursor, limit=limit
    )
    return reply(page)


@router.get("/topics/{name}", responses=gives(topic_answers.Topic), summary="Show a topic")
async def show(
    name: Annotated[str, Path(description="The topic.", examples=["queue-events"], max_length=_NAME)], to: In
) -> Response:
    return reply(await to.service.topics.one(name))
