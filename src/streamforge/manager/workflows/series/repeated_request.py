"""The request that would start a workflow like one that is there."""

from __future__ import annotations

from typing import Any

from streamforge.manager.continuation import LAST, LIVE
from streamforge.manager.engine.document import Workflow
from streamforge.manager.workflows.history.model import History
from streamforge.manager.workflows.series.model import SourceChoice
from streamforge.manager.workflows.series.requests import default_collection_of, default_targets
from streamforge_utils.model.timeranges import SINCE_LAST


def repeated_request(workflow: Workflow) -> dict[str, Any]:
    """A body of `POST /queues/start` that asks for the same, with what differs from the defaults alone.

    The words of a relative range stay: they mean another range later. Images that differ between steps have no place
    in such a body and are left out.
    """
    mine = workflow.form if isinstance(workflow.form, History) else History()
    steps = [step for step in workflow.steps if not step.added]
    images, targets = {step.image for step in steps}, [step.target for step in steps]
    by_default = set(targets) == set(default_targets(workflow.type, mine.source))
    chosen = {step.target: step.parameters for step in steps if step.parameters}
    by_name = not workflow.daily and workflow.collection != default_collection_of(workflow)
    fields = {
        "symbol": workflow.symbol,
        "type": workflow.type,
        **_range(workflow.requested),
        "targets": None if by_default else targets,
        "parameters": chosen or None,
        "image": images.pop() if len(images) == 1 else None,
        "collection_name": workflow.collection if by_name else None,
        "again": mine.again or None,
        "source": None if mine.source is SourceChoice.AUTO else mine.source.value,
        "labels": workflow.labels or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _range(requested: str) -> dict[str, str]:
    if requested == LIVE:
        return {}
    return {"since": LAST} if requested == SINCE_LAST else {"time_range": requested}
