"""What the jobs of a workflow that loads a series are told. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from streamforge.manager.engine.document import Attempt, Step, Workflow
from streamforge.manager.workflows.series.model import plan_of
from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from streamforge_utils.runtime.life.worker_definition import Source


def first_id(workflow: Workflow, step: Step, attempt: Attempt) -> int | None:
    """The id behind the last record that is known to be there, if the attempt's first range goes on from it.

    That is what an attempt before brought to the topic in the same round, or what was stored when it was planned.
    """
    if step.source is not Source.REST or not attempt.ranges:
        return None
    span = parse_time_range(attempt.ranges[0])
    for before in reversed(step.attempts):
        reached = before.progress
        if step.round_from <= before.number < attempt.number and reached.position is not None:
            return None if reached.last_id is None or reached.position not in span else reached.last_id + 1
    parts = () if (plan := plan_of(workflow)) is None else plan.parts
    return next((one.first_id for one in parts if one.span.start_ms == span.start_ms), None)


def inside(span: TimeRange, ranges: Iterable[str]) -> Iterator[str]:
    """The parts of `ranges` in `span`, in which all their bars open: the last one may end behind it."""
    for text in ranges:
        if (part := parse_time_range(text).intersection(span)) is not None:
            yield str(part)
