"""What analysts leave in the store of objects, as the manager reads it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Literal

import msgspec

from streamforge.analytics.graphs.order import Made, made_name
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Workflow
from streamforge.manager.retention.service import RecordRemoval
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.ports.object_store import DamagedObject, NoObject, ObjectStore


def objects_of(deps: Dependencies) -> ObjectStore:
    """The store of objects. Raises PermanentError where there is none."""
    if deps.objects is None:
        raise PermanentError(
            "there is no store of objects for what is made: set STREAMFORGE_OBJECTS_URL for the manager"
        )
    return deps.objects


async def made_by(objects: ObjectStore, workflow: Workflow) -> Made:
    """What the analyst of a workflow says that it has made. Raises PermanentError, or RetryableError."""
    name = made_name(workflow.queue_id)
    try:
        return msgspec.json.decode(await content_of(objects, name), type=Made)
    except (NoObject, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise PermanentError(
            f"the object {name}, which says what was made, cannot be read ({error}): retry it"
        ) from error


async def content_of(objects: ObjectStore, name: str) -> bytes:
    """All of an object. Raises NoObject, PermanentError where it is damaged, or RetryableError."""
    try:
        return b"".join([block async for block in objects.get(name)])
    except DamagedObject as error:
        raise PermanentError(f"{error}, or retry the workflow, which makes it again") from error


def name_held(deps: Dependencies, what: Literal["graph", "model"], name: str) -> AbstractAsyncContextManager[None]:
    """While a name is given to a graph or a model, or taken from one: what both see and do takes its time.

    Raises RetryableError where others take too long.
    """
    return deps.coverage.locks.hold(f"{what} {name}", within_s=RecordRemoval.ASKED_WAIT_S)
