"""How long the requests of a workflow that loads a series take, as far as it is known. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from streamforge.manager import answers
from streamforge.manager.engine.document import Step, Workflow
from streamforge.manager.presentation import answer, range_fields
from streamforge.manager.workflows.series.model import Part, Plan, loaded_series
from streamforge_utils.model.kinds.registry import kind_of
from streamforge_utils.model.timeranges import parse_time_range
from streamforge_utils.runtime.life.worker_definition import Role, Source


def requests_s(workflow: Workflow, plan: Plan | None) -> Sequence[float]:
    """Seconds that the weight of the requests takes that each of its running loaders has still to make."""
    found = (_of_step(workflow, plan, step) for step in workflow.steps) if plan is not None else ()
    return [one for one in found if one is not None]


def _of_step(workflow: Workflow, plan: Plan, step: Step) -> float | None:
    attempt, paging = step.attempt, kind_of(loaded_series(workflow)).paging
    if attempt is None or attempt.ended_ms is not None or attempt.terminal_event is not None:
        return None
    if paging is None or step.role is not Role.LOADER:
        return None
    of, planned_ms = attempt.progress, sum(part.span.length_ms for part in plan.parts)
    if step.source is not Source.REST or not of.weight_per_minute or not planned_ms:
        return None
    mine_ms = sum(parse_time_range(text).length_ms for text in attempt.ranges)
    records = plan.expected * mine_ms / planned_ms * (1.0 - (of.share or 0.0))
    weight = float(paging.weight({"limit": str(paging.most)}))
    return records / paging.most * weight / of.weight_per_minute * 60


def part_answer(part: Part) -> answers.PlanPart:
    """A part of a plan, as the API tells it."""
    return answer(answers.PlanPart, part, **range_fields(part.span))
