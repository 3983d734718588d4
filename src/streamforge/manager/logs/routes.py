"""The route of the logs of a workflow's attempts."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from streamforge.manager.api.routing import In, QueueId, StrictRoute, gives, reply
from streamforge.manager.logs import answers as log_answers

router = APIRouter(route_class=StrictRoute, tags=["workflows"])

_TEXT = 300


@router.get(
    "/queues/{queue_id}/logs",
    responses=gives(log_answers.Logs),
    summary="What the processes of a workflow wrote last",
    description=(
        "The end of the log of the newest attempt of each step, while it runs and after its process or pod is gone. "
        "The 16 newest attempts of a step are kept, until the workflow is removed."
    ),
)
async def logs(
    queue_id: QueueId,
    to: In,
    step: Annotated[str | None, Query(max_length=_TEXT, description="Of this target alone.")] = None,
    attempt: Annotated[
        int | None, Query(ge=1, le=99_999_999, description="Of this attempt instead of the newest.")
    ] = None,
    after: Annotated[
        str | None, Query(max_length=4000, description="Of an earlier answer: only what came later.")
    ] = None,
) -> Response:
    workflow = await to.service.get(queue_id)
    return reply(await to.service.logs.read(workflow, step=step, attempt=attempt, after=after))
