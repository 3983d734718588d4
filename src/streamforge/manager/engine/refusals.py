"""What the engine refuses, and what it could not find out."""

from __future__ import annotations

from collections.abc import Sequence

from streamforge.manager.problem_codes import ProblemCode
from streamforge_utils.model.errors import PermanentError, RetryableError, StreamForgeError


class NotFound(StreamForgeError):
    """There is no workflow, series, collection or target of that name. meant: names that are there and much like it."""

    def __init__(self, message: str, *, meant: Sequence[str] = (), code: ProblemCode = ProblemCode.NOT_FOUND) -> None:
        super().__init__(message)
        self.meant = tuple(meant)
        self.code = code


def no_workflow(queue_id: str, near: str | None, removed: str | None = None) -> NotFound:
    """The error for a `queue_id` that names no workflow. near: the name of one that is much like it. removed: what is
    told of its removal."""
    meant = f"did you mean {near}?" if near else "GET /queues lists those that there are"
    names, code = [near] if near else [], ProblemCode.WORKFLOW_UNKNOWN
    return NotFound(removed or f"there is no workflow {queue_id[:80]!r}: {meant}", meant=names, code=code)


class NotNow(StreamForgeError):
    """The request is well-formed but not possible in the present state (HTTP 409); the message says what is."""


class ExchangeFailed(Exception):
    """The exchange did not answer what it has. error: why; a PermanentError will not go away by itself."""

    def __init__(self, error: RetryableError | PermanentError) -> None:
        super().__init__(str(error))
        self.error = error
