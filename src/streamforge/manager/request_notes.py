"""Notes who asks for what: in the log, and in the history of the workflow that is meant."""

from __future__ import annotations

import asyncio

import msgspec
import structlog

from streamforge.manager.actor import Asked, actor
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.workflow import Workflow
from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.model.messages import Event, encode_event
from streamforge_utils.ports.bus import Message

PRODUCER = "queue-manager"
"""Who speaks in an event that no worker sends."""
MOST_KEPT = 20
"""What was asked of a workflow longest ago is forgotten in its document; its history keeps it."""
_WITHIN_S = 2.0
_log = structlog.get_logger(__name__)


def with_asked(workflow: Workflow, request: str, by: str, now_ms: int) -> Workflow:
    """The workflow, of which `by` has asked this."""
    kept = (*workflow.asked, Asked(request=request, by=by, at_ms=now_ms))
    changed: Workflow = msgspec.structs.replace(workflow, asked=kept[-MOST_KEPT:])
    return changed


def log_request(request: str, name: str) -> None:
    """Log who asks for it. name: of the workflow, batch or schedule that is meant."""
    _log.info("asked", request=request, of=name, by=actor())


async def note_request(deps: Dependencies, request: str, workflow: Workflow) -> None:
    """Log who asks for it, and let the history of the workflow say so too.

    What was asked for is stored by now: where the bus does not take the event soon, the request does not fail for it.
    """
    log_request(request, workflow.queue_id)
    event = Event(
        event="asked",
        queue_id=workflow.queue_id,
        producer=PRODUCER,
        target=PRODUCER,
        symbol=workflow.symbol,
        type=workflow.type,
        message=f"{request} by {actor()}",
        timestamp=deps.clock.now_ms() / 1000,
        extra={"request": request, "by": actor()},
    )
    try:
        async with asyncio.timeout(_WITHIN_S):
            await deps.producer.send(deps.events_topic, [Message(workflow.queue_id.encode(), encode_event(event))])
    except (StreamForgeError, TimeoutError) as error:
        _log.warning(
            "the history does not say who asked", request=request, queue_id=workflow.queue_id, error=str(error)
        )
