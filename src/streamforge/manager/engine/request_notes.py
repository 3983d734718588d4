"""Notes who asks for what: in the log, and in the document of the workflow that is meant."""

from __future__ import annotations

import msgspec
import structlog

from streamforge.manager.actor import RequestNote, actor
from streamforge.manager.engine.document import Workflow

MOST_KEPT = 20
"""What was asked of a workflow longest ago is forgotten in its document; the log has it."""
_log = structlog.get_logger(__name__)


def with_asked(workflow: Workflow, request: str, by: str, now_ms: int) -> Workflow:
    """The workflow, of which `by` has asked this."""
    kept = (*workflow.asked, RequestNote(request=request, by=by, at_ms=now_ms))
    changed: Workflow = msgspec.structs.replace(workflow, asked=kept[-MOST_KEPT:])
    return changed


def log_request(request: str, name: str) -> None:
    """Log who asks for it. name: of the workflow, batch or schedule that is meant."""
    _log.info("asked", request=request, of=name, by=actor())
