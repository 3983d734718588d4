"""The JSON that the API answers about many workflows; as `answers.py`."""

from __future__ import annotations

from typing import Annotated

import msgspec

from streamforge.manager.answers import CURSOR, WorkflowSummary, meaning


class StatusCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many workflows there are of each status."""

    pending: int = 0
    running: int = 0
    stopping: int = 0
    finished: int = 0
    interrupted: int = 0
    error: int = 0


class WorkflowPage(msgspec.Struct, frozen=True, kw_only=True):
    """Workflows, newest first."""

    queues: list[WorkflowSummary]
    cursor: Annotated[str | None, meaning(CURSOR)] = None
    counts: Annotated[StatusCounts, meaning("Of all pages, for the same filters but `status`.")] = StatusCounts()
