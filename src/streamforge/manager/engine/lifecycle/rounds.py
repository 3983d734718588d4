"""The rounds of a workflow: its first run, a repair, a retry, a replay of its dead letters. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from streamforge.manager.engine.document import (
    Attempt,
    Part,
    Plan,
    Remark,
    SourceChoice,
    Status,
    Step,
    StepStatus,
    Workflow,
)
from streamforge.manager.read_letters import read_letters
from streamforge.manager.workflows.live.model import Ledger
from streamforge.manager.workflows.series.part_codes import PartCode
from streamforge_utils.model import names
from streamforge_utils.model.coverage import Segment, Verdict, outside, overlay, verdict_of
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.model.topic_reading import PartitionRange, total
from streamforge_utils.runtime.worker_definition import Role, Source

_replace = msgspec.structs.replace

ATTEMPTS_KEPT = 50
"""Attempts of a step that its document remembers: the latest ones."""

MAX_RANGES = 200
"""More lacking ranges than this are joined: loading what is there already is harmless, a huge environment is not."""


_NOTHING: Mapping[Source, tuple[str, ...]] = {}


def next_round(workflow: Workflow, ranges: Mapping[Source, tuple[str, ...]] = _NOTHING) -> Workflow:
    """The workflow with its steps waiting for a new round of attempts, each loader on the `ranges` of its source.

    Where there is something to load, a loader that has no part in it has finished.
    """

    def own(step: Step) -> tuple[str, ...]:
        return ranges.get(step.source, ()) if step.role is Role.LOADER else ()

    def idle(step: Step) -> bool:
        return step.role is Role.LOADER and bool(ranges) and not own(step) and not workflow.endless

    steps = tuple(
        _replace(
            step,
            status=StepStatus.FINISHED if idle(step) else StepStatus.WAITING,
            round_from=next_number(step),
            ranges=own(step),
            replay=False,
            letters=(),
            failures=0,
            disruptions=0,
            not_before_ms=0,
            failure=None,
            left=None,
            left_at_least=False,
            unloaded=(),
            handover=None,
        )
        for step in workflow.steps
    )
    return workflow.next_epoch(steps=steps, letters_read=read_letters(workflow))


def sources_of(workflow: Workflow) -> frozenset[Source]:
    """The sources that it has a loader for."""
    return frozenset(step.source for step in workflow.steps if step.role is Role.LOADER)


def with_loader(workflow: Workflow, loader: Step | None) -> Workflow:
    """The workflow with one step more, which has nothing to do before the next round; None: as it is."""
    if loader is None or workflow.step(loader.target) is not None:
        return workflow
    return _replace(workflow, steps=(*workflow.steps, _replace(loader, status=StepStatus.FINISHED)))


def repair_round(workflow: Workflow, holes: Sequence[TimeRange]) -> Workflow:
    """The workflow loading `holes` again: over REST, where a loader of it can do that and REST has records that old."""
    sources, ranges = sources_of(workflow), dict[Source, tuple[str, ...]]()
    floor_ms = 0 if workflow.plan is None else workflow.plan.floor_ms or 0
    for span, can_rest in (part for hole in holes for part in _split(hole, floor_ms)):
        for source in {Source.REST if can_rest else Source.ARCHIVE} & sources or sources:
            ranges[source] = (*ranges.get(source, ()), str(span))
    return next_round(workflow, ranges)


def fallback_round(workflow: Workflow, plan: Plan, unloaded: Sequence[Remark]) -> Workflow:
    """The workflow after files could not be loaded: it loads their ranges over REST, or does without them.

    That is where nothing else was wanted, or REST has no records that old; they stay unknown, and the reason is known.
    """
    rest: list[Part] = []
    unknown: list[Segment] = []
    for one in unloaded:
        for span, can_rest in _split(one.span, plan.floor_ms or 0):
            if can_rest and workflow.source is SourceChoice.AUTO and Source.REST in sources_of(workflow):
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
    workflow = _replace(workflow, plan=plan)
    ranges = tuple(str(one) for one in joined(sorted(part.span for part in rest)))
    if ranges:
        return next_round(workflow, {Source.REST: ranges})
    steps = tuple(_replace(step, unloaded=()) for step in workflow.steps)
    return workflow.next_epoch(steps=steps)


def archive_round(workflow: Workflow, plan: Plan, wanted: Sequence[Part]) -> Workflow:
    """The workflow looking for holes in files that it has not read; it does so once."""
    left = [one for part in plan.parts for one in _outside(part, [other.span for other in wanted])]
    plan = _replace(plan, parts=tuple(sorted([*left, *wanted], key=lambda part: part.span)))
    workflow = _replace(workflow, plan=plan, repairs=workflow.repairs + 1, archive_searched=True)
    return next_round(workflow, {Source.ARCHIVE: tuple(str(one) for one in joined([part.span for part in wanted]))})


def _split(span: TimeRange, floor_ms: int) -> list[tuple[TimeRange, bool]]:
    """`span` in one or two pieces, each with whether REST gives its records."""
    if span.end_ms <= floor_ms or span.start_ms >= floor_ms:
        return [(span, span.start_ms >= floor_ms)]
    return [(TimeRange(span.start_ms, floor_ms), False), (TimeRange(floor_ms, span.end_ms), True)]


def _outside(part: Part, cuts: Iterable[TimeRange]) -> list[Part]:
    """What of `part` lies in none of `cuts`."""
    found = outside([verdict_of(part.span, Verdict.UNKNOWN)], [verdict_of(cut, Verdict.UNKNOWN) for cut in cuts])
    return [_replace(part, span=one.span) for one in found]


def replay_round(
    workflow: Workflow, letters: tuple[str, ...] = (), passed: tuple[PartitionRange, ...] | None = None
) -> Workflow:
    """The workflow with its sinks waiting to read the dead letters, or these; its loaders have nothing to do.

    passed: of its `read_letters`, those that its sinks have not committed; None: any of them.
    """
    again = next_round(workflow)
    return _replace(
        again,
        letters_read=again.letters_read if passed is None else passed,
        steps=tuple(
            _replace(step, status=StepStatus.FINISHED)
            if step.role is Role.LOADER
            else _replace(step, replay=True, letters=letters)
            for step in again.steps
        ),
    )


def next_number(step: Step) -> int:
    """The number of the step's next attempt; none is ever used twice, though old attempts are forgotten."""
    return 1 + max((one.number for one in (*step.attempts[-1:], *step.shadows[-1:], step.shadow) if one), default=0)


def next_attempt(workflow: Workflow, step: Step, now_ms: int) -> Attempt:
    """The step's next attempt, as it is planned now."""
    number = next_number(step)
    return Attempt(
        number=number,
        job=names.job_name(step.target, workflow.symbol, workflow.queue_id, number),
        planned_ms=now_ms,
        ranges=step.ranges,
        replay=step.replay,
        letters=total(map(PartitionRange.parse_setting, step.letters)),
    )


def kept_attempts(step: Step) -> tuple[Attempt, ...]:
    """The attempts that the step's document remembers beside its next one; those in shadow that have ended, too."""
    return (*step.attempts, *step.shadows)[1 - ATTEMPTS_KEPT :]


def open_again(workflow: Workflow, plan: Plan | None) -> Workflow:
    """An ended workflow, going on. A live one starts again behind what it has proven: what lacks before is history."""
    ledger = workflow.ledger
    if ledger is not None:
        ledger = Ledger(
            from_ms=ledger.from_ms,
            stream_ms=ledger.resume_ms,
            supplements=ledger.supplements,
            entry_id=ledger.entry_id,
            segment_id=ledger.segment_id,
        )
    return _replace(
        workflow,
        status=Status.PENDING,
        plan=plan,
        proof=None,
        repairs=0,
        disputed=(),
        read=(),
        archive_searched=False,
        surveyed=False,
        asking_failures=0,
        not_before_ms=0,
        waiting_for="",
        stop_asked_ms=None,
        failure=None,
        ended_ms=None,
        replayed=None,
        replayed_failure=None,
        topic_removed=False,
        dlq_removed=False,
        ledger=ledger,
    )


def disjoint(remarks: Iterable[Remark]) -> tuple[Remark, ...]:
    """The same, sorted and each time once; of two reasons the earlier range's counts. At most `MAX_RANGES`."""
    found: list[Remark] = []
    for one in sorted(remarks, key=lambda one: one.span):
        start_ms = max(one.span.start_ms, found[-1].span.end_ms if found else 0)
        if start_ms >= one.span.end_ms:
            continue
        last = found[-1] if found else None
        if last is not None and (len(found) == MAX_RANGES or (last.reason, last.span.end_ms) == (one.reason, start_ms)):
            found[-1] = Remark(TimeRange(last.span.start_ms, one.span.end_ms), last.reason)
        else:
            found.append(Remark(TimeRange(start_ms, one.span.end_ms), one.reason))
    return tuple(found)


def joined(ranges: list[TimeRange]) -> list[TimeRange]:
    """`ranges` (sorted) themselves, or one around all of them where they are too many."""
    return ranges if len(ranges) <= MAX_RANGES else [TimeRange(ranges[0].start_ms, ranges[-1].end_ms)]
