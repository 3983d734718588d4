"""The routes of workflows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response, StreamingResponse

from streamforge.manager import answers, presentation, start_answers
from streamforge.manager.api import sse
from streamforge.manager.api.problems import invalid
from streamforge.manager.api.request_bodies import ReplayLetters, Start, StartPipeline
from streamforge.manager.api.routing import Context, In, QueueId, StrictRoute, gives, no_driver_reason, preferred, reply
from streamforge.manager.coverage import answers as data_answers
from streamforge.manager.dead_letters.model import LetterCode
from streamforge.manager.engine.document import Status, Workflow
from streamforge.manager.listing_answers import StatusCounts, WorkflowPage
from streamforge.manager.use_cases import Started, StartRequest, UpToDate
from streamforge.manager.workflow_labels import MOST_LABELS, parsed_labels
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.messages import decode_event

router = APIRouter(route_class=StrictRoute, tags=["workflows"])

LAST_ID = 2**53 - 1
EVENT_STREAM = "text/event-stream"

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[!-~]+$",
        description=(
            "The same key with the same request gives the same workflow; with another request it is refused. It is "
            "remembered for a day, or until the workflow is removed."
        ),
    ),
]
Limit = Annotated[int, Query(ge=1, le=1000, description="At most so many.")]
ACCEPTED = gives(
    start_answers.Accepted,
    202,
    description="Accepted and stored; it starts by itself.",
    headers={
        "Location": {"description": "The workflow.", "schema": {"type": "string"}},
        "Idempotency-Replayed": {
            "description": "`true` if the same key and request came before.",
            "schema": {"type": "string"},
        },
    },
)
_STARTED = gives(start_answers.UpToDate, description="Nothing new since the coverage's end: none was made.") | ACCEPTED


@router.post(
    "/queues/start",
    status_code=202,
    responses=_STARTED,
    summary="Start a workflow",
)
async def start(body: Start, to: In, idempotency_key: IdempotencyKey = None) -> Response:
    return await _start(to, body.request(), idempotency_key)


@router.post(
    "/queues/start-pipeline",
    status_code=202,
    responses=_STARTED,
    summary="Start a workflow, naming each step",
)
async def start_pipeline(body: StartPipeline, to: In, idempotency_key: IdempotencyKey = None) -> Response:
    return await _start(to, body.request(), idempotency_key)


async def _start(to: Context, request: StartRequest, key: str | None) -> Response:
    try:
        started = await to.service.start(request, idempotency_key=key)
    except UpToDate as found_nothing:
        return reply(presentation.up_to_date_answer(found_nothing))
    return await started_reply(to, started)


async def started_reply(to: Context, started: Started) -> Response:
    """The answer to a request that has started a workflow."""
    found = started.workflow
    headers = {"Location": f"/queues/{found.queue_id}"}
    if started.replayed:
        headers["Idempotency-Replayed"] = "true"
    now = await to.service.reports.of_ended([found])
    answer = presentation.accepted_answer(started, await no_driver_reason(to, [found]), now.get(found.queue_id))
    return reply(answer, 202, headers)


async def _shown(to: Context, found: Workflow, status: int = 200) -> Response:
    now = await to.service.reports.of_ended([found])
    return reply(
        presentation.workflow_answer(
            found, await no_driver_reason(to, [found]), now.get(found.queue_id), at_ms=to.clock.now_ms()
        ),
        status,
    )


@router.get("/queues", responses=gives(WorkflowPage), summary="List workflows, newest first")
async def find(
    to: In,
    status: Annotated[list[Status] | None, Query(max_length=6, description="Any of these (repeatable).")] = None,
    symbol: Annotated[str | None, Query(max_length=300)] = None,
    type: Annotated[str | None, Query(max_length=300)] = None,
    batch: Annotated[str | None, Query(max_length=300, description="Those that were made for this batch.")] = None,
    label: Annotated[
        list[str] | None,
        Query(
            max_length=MOST_LABELS,
            description="Those with this label, `key:value` (repeatable: all keys must fit, one value of each).",
            examples=["team:research"],
        ),
    ] = None,
    search: Annotated[
        str, Query(max_length=300, description="What the queue_id (`wf-…`) or the symbol begins with, in any case.")
    ] = "",
    cursor: Annotated[str | None, Query(max_length=500, description="Of the page before.")] = None,
    limit: Limit = 100,
) -> Response:
    page = await to.service.find(
        statuses=tuple(status or ()),
        symbol=symbol,
        type=type,
        batch=batch,
        labels=parsed_labels(label or ()),
        search=search,
        cursor=cursor,
        limit=limit,
    )
    alone = await no_driver_reason(to, page.workflows)
    now = await to.service.reports.of_ended(page.workflows)
    at_ms = to.clock.now_ms()
    queues = [
        presentation.workflow_summary(found, alone, now.get(found.queue_id), at_ms=at_ms) for found in page.workflows
    ]
    return reply(WorkflowPage(queues=queues, cursor=page.cursor, counts=StatusCounts(**page.counts)))


@router.get("/queues/{queue_id}", responses=gives(answers.Workflow), summary="Show a workflow")
async def show(queue_id: QueueId, to: In) -> Response:
    return await _shown(to, await to.service.get(queue_id))


@router.delete(
    "/queues/{queue_id}",
    status_code=204,
    summary="Forget an ended workflow",
    description="The `detail` of the 404 that its paths answer then says who removed it, and when: for 90 days.",
    responses=gives(
        data_answers.Removed,
        description="Removed; the body has the counts if `Prefer: return=representation` asks for them.",
    ),
)
async def remove(
    queue_id: QueueId,
    to: In,
    data: Annotated[bool, Query(description="Remove its records and their coverage too.")] = False,
    prefer: Annotated[
        str | None, Header(max_length=200, description="`return=representation`: tell what was removed and what stays.")
    ] = None,
) -> Response:
    removed = await to.service.remove(queue_id, data=data)
    if "return=representation" in (prefer or "").replace(" ", "").lower():
        return reply(removed, headers={"Preference-Applied": "return=representation"})
    return Response(status_code=204)


@router.get(
    "/queues/{queue_id}/events",
    summary="What the workers of a workflow said",
    description=(
        "A page of the history as JSON; with `Accept: text/event-stream` the history and then what comes, live, until "
        "the workflow has ended: the last event is named `end`. `Last-Event-ID` continues behind an event (it goes "
        "before `after`); 204 says that the workflow has ended and nothing came after that event."
    ),
    responses={
        **gives(
            answers.EventPage,
            also={
                EVENT_STREAM: {
                    "schema": {"type": "string"},
                    "example": 'id: 7\ndata: {"event":"loading"}\n\nevent: end\ndata: {"status":"finished"}\n\n',
                }
            },
        ),
        204: {"description": "Ended, and nothing came after `Last-Event-ID`."},
    },
)
async def events(
    queue_id: QueueId,
    to: In,
    request: Request,
    after: Annotated[int, Query(ge=-1, le=LAST_ID, description="Continue behind this event.")] = -1,
    limit: Limit = 1000,
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID", max_length=20)] = None,
) -> Response:
    if preferred(request.headers.get("accept"), ("application/json", EVENT_STREAM)) == EVENT_STREAM:
        return await _follow(queue_id, to, after, last_event_id)
    found = await to.service.events(queue_id, after=after, limit=limit)
    listed = []
    for event in found:
        try:
            body = msgspec.to_builtins(decode_event(event.body))
        except PermanentError:
            continue  # an event that no version of ours wrote has nothing to tell
        listed.append(answers.StoredEvent(id=event.id, event=body))
    return reply(
        answers.EventPage(
            queue_id=queue_id,
            events=listed,
            after=found[-1].id if found else after,
            more=len(found) == limit,
        )
    )


async def _follow(queue_id: str, to: Context, after: int, last_event_id: str | None) -> Response:
    if last_event_id is not None:
        after = _event_id(last_event_id)
    to.followers.enter()
    try:
        found = await to.service.get(queue_id)
        if last_event_id is not None and found.ended and not await to.service.events(queue_id, after=after, limit=1):
            to.followers.leave()
            return Response(status_code=204)
    except BaseException:
        to.followers.leave()
        raise
    source = sse.stream(
        to.service, queue_id, after=after, keep_alive_s=to.limits.keep_alive_s, closing=to.followers.closing
    )
    return FollowResponse(source, to.followers)


class FollowResponse(StreamingResponse):
    """An event stream that counts as a follower until it ends, however it ends."""

    def __init__(self, source: AsyncIterator[bytes], followers: sse.Followers) -> None:
        super().__init__(source, media_type=EVENT_STREAM, headers={"X-Accel-Buffering": "no"})
        self._source = source
        self._followers = followers

    async def __call__(self, scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._followers.leave()
            if (close := getattr(self._source, "aclose", None)) is not None:
                await close()


def _event_id(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > LAST_ID:
        raise invalid(
            "Last-Event-ID",
            "header",
            f"Last-Event-ID {text!r} is no id of an event",
            "send the id of the last event that was received, or leave the header out",
        )
    return int(text)


@router.post(
    "/queues/{queue_id}/stop",
    status_code=202,
    responses=gives(answers.Workflow, 202),
    summary="Ask a workflow to end in order",
)
async def stop(queue_id: QueueId, to: In) -> Response:
    return await _shown(to, await to.service.stop(queue_id), 202)


@router.post(
    "/queues/{queue_id}/retry",
    status_code=202,
    responses=gives(answers.Workflow, 202),
    summary="Start an interrupted or failed workflow again on what it lacks",
)
async def retry(queue_id: QueueId, to: In) -> Response:
    return await _shown(to, await to.service.retry(queue_id), 202)


@router.post(
    "/queues/{queue_id}/handover",
    status_code=202,
    responses=gives(answers.Workflow, 202),
    summary="Replace the loader of a live workflow by another attempt, without a gap",
)
async def hand_over(queue_id: QueueId, to: In) -> Response:
    return await _shown(to, await to.service.hand_over(queue_id), 202)


@router.post("/queues/{queue_id}/ping", responses=gives(answers.Ping), summary="Ask each worker whether it lives")
async def ping(
    queue_id: QueueId,
    to: In,
    timeout_s: Annotated[float, Query(gt=0, le=30, description="Seconds to wait for answers.")] = 2.0,
) -> Response:
    seconds = await to.service.ping(queue_id, timeout_s=timeout_s)
    return reply(answers.Ping(queue_id=queue_id, answers=dict(seconds)))


@router.get(
    "/queues/{queue_id}/coverage", responses=gives(data_answers.Coverage), summary="What of a workflow is stored"
)
async def coverage(queue_id: QueueId, to: In) -> Response:
    report = await to.service.coverage(queue_id)
    return reply(
        presentation.coverage_answer(report, queue_id=queue_id, undriven=await no_driver_reason(to, report.loading))
    )


@router.get("/queues/{queue_id}/dlq", responses=gives(data_answers.DeadLetters), summary="What could not be stored")
async def dead_letters(
    queue_id: QueueId,
    to: In,
    limit: Limit = 100,
    after: Annotated[str | None, Query(max_length=3000, description="Of the page before.")] = None,
    value_bytes: Annotated[
        int | None, Query(ge=0, le=2**24, description="Give so much of each value; without it, all.")
    ] = None,
    code: Annotated[LetterCode | None, Query(description="Those with this code; a page may hold fewer then.")] = None,
    reason: Annotated[
        str, Query(max_length=300, description="Those with this text in their reason, in any case; as `code`.")
    ] = "",
    since_attempt: Annotated[
        int, Query(ge=0, lt=2**31, description="Those that this attempt of a sink has refused, or a later one.")
    ] = 0,
) -> Response:
    found = await to.service.dead_letters.read(
        queue_id, limit=limit, after=after, code=code, reason=reason, since_attempt=since_attempt
    )
    return reply(
        data_answers.DeadLetters(
            queue_id=queue_id,
            dead_letters=[presentation.dead_letter_answer(letter, value_bytes) for letter in found.letters],
            outstanding=found.outstanding,
            after=found.after,
        )
    )


@router.post(
    "/queues/{queue_id}/dlq/replay",
    status_code=202,
    responses=gives(answers.Workflow, 202),
    summary="Let a sink read the dead letters again",
    description=(
        "Without a body all dead letters, else those in `letters`; the others stay. What cannot be stored "
        "comes back, at the end. To replay one twice changes nothing: it is stored under its key."
    ),
)
async def replay(queue_id: QueueId, to: In, body: ReplayLetters | None = None) -> Response:
    letters = () if body is None else body.places()
    return await _shown(to, await to.service.dead_letters.replay(queue_id, letters), 202)
