"""The route of the feed of changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import structlog
from fastapi import APIRouter, Header, Query
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from streamforge.manager.actor import actor
from streamforge.manager.api.problems import ProblemError, invalid
from streamforge.manager.api.queue_routes import EVENT_STREAM, FollowResponse
from streamforge.manager.api.routing import In, StrictRoute
from streamforge.manager.api.sse import Followers
from streamforge.manager.engine.document import Status
from streamforge.manager.engine.refusals import NotNow
from streamforge.manager.feed.service import Feed, FeedReader

router = APIRouter(route_class=StrictRoute, tags=["workflows"])

MOST_QUEUE_IDS = 100
_log = structlog.get_logger(__name__)
_EVENTS = {"description": "Server-sent events, each with a name, mostly an id, and JSON as its data."}
_EXAMPLE = (
    'event: open\nid: 5f3a91c0-17\ndata: {"resumed":false}\n\n'
    'event: workflow\nid: 5f3a91c0-18\ndata: {"queue_id":"wf-btcusdt-api_candles_1m-20240801-abc123","status":…}\n\n'
)


@router.get(
    "/feed",
    summary="Follow what changes of workflows, live series, batches and schedules",
    description=(
        "One stream of server-sent events for all that is shown: `open` first; `workflow`, `batch` and `schedule`, "
        "each with the document that GET /queues, GET /batches and GET /schedules list, whenever it has changed, at "
        "most once a second (that a schedule becomes overdue is no change of it); `removed` (`FeedRemoved`); "
        "`reset` (`FeedReset`): read all again; `end` (`FeedEnd`), the last one. Open it, then "
        "read the lists: what changes meanwhile comes. `Last-Event-ID` (it goes before `since`) goes on behind an "
        "event: of each document only the latest state comes. Where that is no longer possible, also after a start of "
        "the manager, `reset` comes. Read it with `fetch`, which sends the token."
    ),
    responses={200: {"content": {EVENT_STREAM: {"schema": _EVENTS, "example": _EXAMPLE}}}},
)
async def feed(
    to: In,
    queue_id: Annotated[
        list[str] | None,
        Query(max_length=MOST_QUEUE_IDS, description="Only these workflows (repeatable), no batches and no schedules."),
    ] = None,
    status: Annotated[
        list[Status] | None,
        Query(
            max_length=6,
            description="Only workflows with one of these (repeatable); `removed` tells when one has another.",
        ),
    ] = None,
    client: Annotated[
        str | None,
        Query(
            pattern=r"^[A-Za-z0-9._-]{1,64}$",
            description="A name that the client chooses, for each browser one: a new stream ends the one before of the "
            "same name and token, with `end` and the reason `replaced`.",
        ),
    ] = None,
    since: Annotated[str | None, Query(max_length=40, description="Go on behind the event of this id.")] = None,
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID", max_length=40)] = None,
) -> Response:
    if to.service.feed.elsewhere:
        raise NotNow("another manager drives the workflows, and this one does not see them change: ask that one")
    start = to.feed.position(since if last_event_id is None else last_event_id)
    if start is None:
        field, where = ("since", "query") if last_event_id is None else ("Last-Event-ID", "header")
        raise invalid(field, where, f"{field} is no id of an event of the feed", "leave it out, and read all again")
    position, resumed = start
    reader = FeedReader(position, [one.lower() for one in queue_id or ()], [one.value for one in status or ()])
    to.followers.enter()
    to.feed.enter(reader, None if client is None else (actor(), client))
    source = to.feed.stream(reader, resumed=resumed, keep_alive_s=to.limits.keep_alive_s, closing=to.followers.closing)
    return FeedResponse(source, to.followers, to.feed, reader)


class FeedResponse(FollowResponse):
    """The stream of a reader, which leaves with it, however it ends."""

    def __init__(self, source: AsyncIterator[bytes], followers: Followers, feed: Feed, reader: FeedReader) -> None:
        super().__init__(source, followers)
        self._feed = feed
        self._reader = reader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def bounded(message: Message) -> None:
            try:
                async with asyncio.timeout(self._feed.stall_s):
                    await send(message)
            except TimeoutError as error:
                detail = f"the client of the feed took nothing for {self._feed.stall_s:g} s and is cut off"
                _log.warning(detail)
                raise ProblemError(408, "request-timeout", detail, next_step="read faster") from error

        try:
            await super().__call__(scope, receive, bounded)
        finally:
            self._feed.leave(self._reader)
