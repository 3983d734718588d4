"""Pages of workflows by filters, with how many there are of each status."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from streamforge.manager.engine.document import Status
from streamforge.manager.engine.persistence.workflow_store import WorkflowStore
from streamforge.manager.use_cases import Page, lost_cursor
from streamforge.manager.workflow_labels import NAMED
from streamforge_utils.model.kinds.registry import normal_type
from streamforge_utils.model.series import check_symbol
from streamforge_utils.model.topic_reading import JSON_TYPE

_QUEUE_ID = "wf-"
"""Begins every queue_id; no symbol begins so."""


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """Which workflows are wanted; all of them hold. statuses: any of these.

    labels: keys with values; of several values of a key any. search: what the queue_id (`wf-…`) or the symbol begins
    with, in any case (of a symbol that is not plain letters: as it is written, or all large, or all small).
    """

    statuses: Sequence[Status] = ()
    symbol: str | None = None
    type: str | None = None
    batch: str | None = None
    labels: Sequence[tuple[str, str]] = ()
    search: str = ""


async def listed(workflows: WorkflowStore, asked: Filters, *, cursor: str | None, limit: int) -> Page:
    """Workflows, newest first. Raises InvalidInput for a cursor, symbol or type that is none."""
    where: dict[str, list[str]] = {}
    if asked.symbol is not None:
        where["symbol"] = [check_symbol(asked.symbol)]
    if asked.type is not None:
        where["type"] = [asked.type if asked.type == JSON_TYPE else normal_type(asked.type)]
    if asked.batch is not None:
        where["batch"] = [asked.batch]
    for key, value in asked.labels:
        where.setdefault(NAMED + key, []).append(value)
    wanted, prefix = asked.search.strip(), ""
    begins: dict[str, list[str]] = {}
    if wanted.casefold().startswith(_QUEUE_ID):
        prefix = wanted.casefold()
    elif wanted and asked.symbol is not None:
        where["symbol"] = [one for one in where["symbol"] if one.casefold().startswith(wanted.casefold())]
    elif wanted:
        begins["symbol"] = [wanted, wanted.upper(), wanted.lower()]
    if cursor is not None and await workflows.get(cursor) is None:
        raise lost_cursor(cursor, "workflow")
    of_status = {"status": [status.value for status in asked.statuses]} if asked.statuses else {}
    found = await workflows.find(
        where={**where, **of_status}, begins=begins, prefix=prefix, after=cursor, limit=limit + 1
    )
    counted = await workflows.tally("status", where=where, begins=begins, prefix=prefix)
    counts = {status.value: counted.get(status.value, 0) for status in Status}
    return Page(found[:limit], found[limit - 1].queue_id if len(found) > limit else None, counts)
