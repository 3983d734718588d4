"""Removes what a workflow has stored of a topic: its whole collection, or nothing."""

from __future__ import annotations

import structlog

from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.refusals import NotNow
from streamforge.manager.workflows.topics.model import TopicInput
from streamforge_utils.model.topic_reading import JSON_TYPE

_PAGE = 500
_log = structlog.get_logger(__name__)


async def remove_topic_documents(deps: Dependencies, workflow: Workflow, topic: TopicInput) -> int:
    """Drop the workflow's collection; returns how many documents it held.

    Its documents do not tell who stored them. So it must have been empty when the workflow began, and no other
    workflow may store into it. Raises NotNow, or RetryableError.
    """
    collection = workflow.collection
    if not topic.own_collection:
        if not await deps.store.count(collection):
            return 0
        raise NotNow(
            f"collection {collection} held documents before {workflow.queue_id} began, and they cannot be told apart: "
            "remove the workflow without its data, and the documents in the store"
        )
    if (other := await _other(deps, workflow)) is not None:
        raise NotNow(
            f"workflow {other} stores into collection {collection}, too: remove that one first, or this one without "
            "its data"
        )
    if collection in await deps.coverage.by_collection():
        raise NotNow(f"collection {collection} holds records of a series by now: remove the workflow without its data")
    records = await deps.store.count(collection)
    await deps.store.drop(collection)
    _log.info("documents of a topic were removed", collection=collection, records=records)
    return records


async def _other(deps: Dependencies, workflow: Workflow) -> str | None:
    """Another workflow with the same collection."""
    for stored in deps.workflows.live.values():
        if stored.workflow.collection == workflow.collection and stored.workflow.queue_id != workflow.queue_id:
            return stored.workflow.queue_id
    after: str | None = None
    while page := await deps.workflows.find(where={"type": [JSON_TYPE]}, after=after, limit=_PAGE):
        for one in page:
            if one.collection == workflow.collection and one.queue_id != workflow.queue_id:
                return one.queue_id
        after = page[-1].queue_id
    return None
