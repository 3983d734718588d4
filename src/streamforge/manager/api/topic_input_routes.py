"""The route that stores a topic of another producer."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from streamforge.manager.api.queue_routes import ACCEPTED, IdempotencyKey, started_reply
from streamforge.manager.api.request_bodies import Labels
from streamforge.manager.api.routing import In, StrictRoute
from streamforge.manager.workflows.topics.requests import TopicRequest

router = APIRouter(route_class=StrictRoute, tags=["workflows"])

_TEXT = 300
_MANY = 32


class StoreTopic(BaseModel):
    """Store the JSON objects of a topic of any producer."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"topic": "orders", "collection_name": "orders"},
                {
                    "topic": "orders",
                    "until": "count:1000",
                    "json_schema": {"type": "object", "required": ["id"]},
                },
            ]
        },
    )

    topic: str = Field(max_length=_TEXT, description="It must be there; it is only read.")
    until: str = Field(
        default="end",
        max_length=7000,
        description="What ends the workflow: `end` (the offsets that the topic ends at when the workflow begins), "
        "`stop` (a stop, which is its normal end), `count:N` (so many messages) or `marker:PRODUCER[,PRODUCER]` (the "
        "end-of-stream marker of each).",
    )
    symbol: str | None = Field(
        default=None, max_length=_TEXT, description="A name to list it under; without it, the topic's name."
    )
    collection_name: str | None = Field(
        default=None,
        max_length=_TEXT,
        description="Where documents go; without it, a name that follows from `symbol` and the day.",
    )
    json_schema: dict[str, Any] | bool | None = Field(
        default=None,
        description="A JSON Schema that every message must fit; those that do not become dead letters. Nothing is "
        "fetched for it.",
    )
    image: str | None = Field(default=None, max_length=_TEXT, description="As in POST /queues/start.")
    parameters: dict[str, Any] = Field(
        default={}, max_length=_MANY, description="Those of arango-connector that GET /targets describes."
    )
    labels: Labels = Field(default_factory=dict)

    def request(self) -> TopicRequest:
        """What the service is asked."""
        fields = dict(self)
        return TopicRequest(collection=fields.pop("collection_name"), **fields)


@router.post(
    "/queues/start-topic", status_code=202, responses=ACCEPTED, summary="Store the JSON objects of another's topic"
)
async def start_topic(body: StoreTopic, to: In, idempotency_key: IdempotencyKey = None) -> Response:
    started = await to.service.start_topic(body.request(), idempotency_key=idempotency_key)
    return await started_reply(to, started)
