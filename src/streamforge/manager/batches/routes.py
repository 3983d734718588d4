"""The routes of batches."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import ConfigDict, Field
from starlette.responses import Response

from streamforge.manager.api.queue_routes import LAST_ID, IdempotencyKey, Limit
from streamforge.manager.api.request_bodies import From, Labels, Range, RangeRequest, Since
from streamforge.manager.api.routing import Context, In, StrictRoute, gives, reply
from streamforge.manager.batches import answers as batch_answers
from streamforge.manager.batches import presentation as batch_presentation
from streamforge.manager.batches.model import MOST_SYMBOLS, MemberStatus
from streamforge.manager.batches.requests import BatchRequest
from streamforge.manager.batches.service import View
from streamforge.manager.workflows.series.model import SourceChoice
from streamforge_utils.model.errors import InvalidInput

router = APIRouter(route_class=StrictRoute, tags=["batches"])

_TEXT = 300
BatchId = Annotated[str, Path(description="The batch's name.", examples=[batch_answers.BATCH_ID], max_length=_TEXT)]


class StartBatch(RangeRequest):
    """Load a time range of many symbols, the same one of each, or of each what came since its own coverage ends."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"symbols": ["BTCUSDT", "ETHUSDT"], "type": "api_candles_1m", "time_range": "2024-08-01"},
                {"symbols": ["BTCUSDT", "ETHUSDT"], "type": "api_candles_1m", "since": "last", "from": "2024-08"},
                {
                    "symbols": ["*USDT"],
                    "listed_at": "2021-01-01",
                    "type": "api_candles_1h",
                    "time_range": "2021:2024",
                },
            ]
        },
    )

    symbols: list[str] = Field(
        description=f"Symbols, and patterns (`*USDT`; `?` and `[..]` too), {MOST_SYMBOLS:,} symbols at most. A pattern "
        "fits also what the exchange trades no longer, and what its archive alone has.",
    )
    listed_at: str | None = Field(
        default=None, max_length=_TEXT, description="A day: symbols that did not exist then are closed, not loaded."
    )
    type: str = Field(max_length=_TEXT, description="What is loaded: `api_candles_1m`, …")
    since: Since = None
    start: From = None
    time_range: Range = None
    again: bool = Field(default=False, description="Load also what is stored already.")
    skip_unknown: bool = Field(
        default=False,
        description="Leave out symbols that the exchange does not have, instead of refusing all.",
    )
    source: SourceChoice = Field(default=SourceChoice.AUTO, description="As of POST /queues/start.")
    labels: Labels = Field(default_factory=dict)

    def request(self) -> BatchRequest:
        """What the service is asked."""
        fields = {**dict(self), "symbols": tuple(self.symbols), "time_range": self.time_range or ""}
        return BatchRequest(default_start=fields.pop("start"), **fields)


@router.post(
    "/batches",
    status_code=202,
    responses=gives(
        batch_answers.Batch,
        202,
        description="Accepted and stored; its workflows are made as room allows.",
        headers={
            "Location": {"description": "The batch.", "schema": {"type": "string"}},
            "Idempotency-Replayed": {
                "description": "`true` if the same key and request came before.",
                "schema": {"type": "string"},
            },
        },
    ),
    summary="Load many symbols",
)
async def start(body: StartBatch, to: In, idempotency_key: IdempotencyKey = None) -> Response:
    started = await to.service.batches.start(body.request(), idempotency_key=idempotency_key)
    headers = {"Location": f"/batches/{started.view.batch.batch_id}"}
    if started.replayed:
        headers["Idempotency-Replayed"] = "true"
    return await _shown(to, started.view, 202, headers)


@router.get("/batches", responses=gives(batch_answers.BatchPage), summary="List batches, newest first")
async def find(
    to: In,
    cursor: Annotated[str | None, Query(max_length=500, description="Of the page before.")] = None,
    limit: Limit = 100,
) -> Response:
    found, after = await to.service.batches.find(cursor=cursor, limit=limit)
    alone = None if all(view.batch.ended for view in found) else await to.service.no_driver_reason()
    summaries = [batch_presentation.batch_summary(view, alone) for view in found]
    return reply(batch_answers.BatchPage(batches=summaries, cursor=after))


@router.get("/batches/{batch_id}", responses=gives(batch_answers.Batch), summary="Show a batch")
async def show(batch_id: BatchId, to: In) -> Response:
    return await _shown(to, await to.service.batches.get(batch_id.lower()))


@router.get(
    "/batches/{batch_id}/members",
    responses=gives(batch_answers.BatchMemberPage),
    summary="List the members of a batch, with their workflows",
)
async def members(
    batch_id: BatchId,
    to: In,
    status: Annotated[
        list[MemberStatus] | None,
        Query(max_length=7, description="Any of these (repeatable); `live` are those whose workflow goes on."),
    ] = None,
    cursor: Annotated[str | None, Query(max_length=500, description="Of the page before.")] = None,
    limit: Limit = 100,
) -> Response:
    name, after = batch_id.lower(), -1
    if cursor is not None:
        if not (cursor.isascii() and cursor.isdigit() and int(cursor) <= LAST_ID):
            raise InvalidInput("cursor", f"cursor {cursor[:80]!r} is not one of this server: begin again without one")
        after = int(cursor)
    page = await to.service.batches.members(name, statuses=tuple(status or ()), after=after, limit=limit)
    return reply(batch_presentation.member_page(name, page))


@router.post(
    "/batches/{batch_id}/stop",
    status_code=202,
    responses=gives(batch_answers.Batch, 202),
    summary="Make no more workflows of a batch, and ask its own to end in order",
)
async def stop(batch_id: BatchId, to: In) -> Response:
    return await _shown(to, await to.service.batches.stop(batch_id.lower()), 202)


@router.post(
    "/batches/{batch_id}/retry",
    status_code=202,
    responses=gives(batch_answers.Batch, 202),
    summary="Start the failed and interrupted members of a batch again on what they lack",
)
async def retry(batch_id: BatchId, to: In) -> Response:
    return await _shown(to, await to.service.batches.retry(batch_id.lower()), 202)


@router.delete(
    "/batches/{batch_id}", status_code=204, summary="Forget an ended batch; its workflows and their records stay"
)
async def remove(batch_id: BatchId, to: In) -> Response:
    await to.service.batches.remove(batch_id.lower())
    return Response(status_code=204)


async def _shown(to: Context, view: View, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    alone = None if view.batch.ended else await to.service.no_driver_reason()
    return reply(batch_presentation.batch_answer(view, alone), status, headers)
