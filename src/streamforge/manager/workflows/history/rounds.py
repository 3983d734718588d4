"""The rounds of a workflow that loads a past range in which sources take each other's place. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from streamforge.manager.engine.document import Remark, Workflow
from streamforge.manager.engine.lifecycle.rounds import joined, next_round
from streamforge.manager.workflows.history.model import History
from streamforge.manager.workflows.series.model import Part, Plan, SourceChoice
from streamforge.manager.workflows.series.part_codes import PartCode
from streamforge.manager.workflows.series.rounds import sources_of, split
from streamforge_utils.model.coverage import Segment, Verdict, outside, overlay, verdict_of
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.runtime.life.worker_definition import Source

_replace = msgspec.structs.replace


def fallback_round(workflow: Workflow, plan: Plan, unloaded: Sequence[Remark]) -> Workflow:
    """The workflow after files could not be loaded: it loads their ranges over REST, or does without them.

    That is where nothing else was wanted, or REST has no records that old; they stay unknown, and the reason is known.
    """
    rest: list[Part] = []
    unknown: list[Segment] = []
    for one in unloaded:
        for span, can_rest in split(one.span, plan.floor_ms or 0):
            if can_rest and workflow.part(History).source is SourceChoice.AUTO and Source.REST in sources_of(workflow):
                rest.append(
                    Part(
                        span=span,
                        reason=f"its file was not loaded: {one.reason}",
                        codes=(PartCode.FILE_FAILED,),
                        instead=True,
                    )
                )
            else:
                unknown.append(_replace(verdict_of(span, Verdict.UNKNOWN), cause=one.reason))
    left = [one for part in plan.parts for one in _outside(part, [remark.span for remark in unloaded])]
    plan = _replace(
        plan,
        parts=tuple(sorted([*left, *rest], key=lambda part: part.span)),
        settled=tuple(overlay(plan.settled, unknown)),
    )
    workflow = workflow.with_form(plan=plan)
    ranges = tuple(str(one) for one in joined(sorted(part.span for part in rest)))
    if ranges:
        return next_round(workflow, {Source.REST: ranges})
    steps = tuple(_replace(step, unloaded=()) for step in workflow.steps)
    return workflow.next_epoch(steps=steps)


def archive_round(workflow: Workflow, plan: Plan, wanted: Sequence[Part]) -> Workflow:
    """The workflow looking for holes in files that it has not read; it does so once."""
    left = [one for part in plan.parts for one in _outside(part, [other.span for other in wanted])]
    plan = _replace(plan, parts=tuple(sorted([*left, *wanted], key=lambda part: part.span)))
    workflow = _replace(workflow.with_form(plan=plan, archive_searched=True), repairs=workflow.repairs + 1)
    return next_round(workflow, {Source.ARCHIVE: tuple(str(one) for one in joined([part.span for part in wanted]))})


def _outside(part: Part, cuts: Iterable[TimeRange]) -> list[Part]:
    """What of `part` lies in none of `cuts`."""
    found = outside([verdict_of(part.span, Verdict.UNKNOWN)], [verdict_of(cut, Verdict.UNKNOWN) for cut in cuts])
    return [_replace(part, span=one.span) for one in found]
