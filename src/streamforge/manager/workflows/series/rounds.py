"""The rounds of a workflow that loads a series which repair what its proof found. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.lifecycle.rounds import next_round
from streamforge.manager.workflows.series.model import plan_of
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.runtime.life.worker_definition import Role, Source


def sources_of(workflow: Workflow) -> frozenset[Source]:
    """The sources that it has a loader for."""
    return frozenset(step.source for step in workflow.steps if step.role is Role.LOADER)


def repair_round(workflow: Workflow, holes: Sequence[TimeRange]) -> Workflow:
    """The workflow loading `holes` again: over REST, where a loader of it can do that and REST has records that old."""
    sources, ranges = sources_of(workflow), dict[Source, tuple[str, ...]]()
    floor_ms = 0 if (plan := plan_of(workflow)) is None else plan.floor_ms or 0
    for span, can_rest in (part for hole in holes for part in split(hole, floor_ms)):
        for source in {Source.REST if can_rest else Source.ARCHIVE} & sources or sources:
            ranges[source] = (*ranges.get(source, ()), str(span))
    return next_round(workflow, ranges)


def split(span: TimeRange, floor_ms: int) -> list[tuple[TimeRange, bool]]:
    """`span` in one or two pieces, each with whether REST gives its records."""
    if span.end_ms <= floor_ms or span.start_ms >= floor_ms:
        return [(span, span.start_ms >= floor_ms)]
    return [(TimeRange(span.start_ms, floor_ms), False), (TimeRange(floor_ms, span.end_ms), True)]
