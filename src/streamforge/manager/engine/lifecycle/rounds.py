"""The rounds of a workflow: its first run, a repair, a retry, a replay of its dead letters. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from streamforge.manager.engine.document import (
    Attempt,
    Remark,
    Status,
    Step,
    StepStatus,
    Workflow,
)
from streamforge.manager.engine.registry import form_of
from streamforge_utils.model import names
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.model.topic_reading import PartitionRange, total, union
from streamforge_utils.runtime.life.worker_definition import Role, Source

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


def with_loader(workflow: Workflow, loader: Step | None) -> Workflow:
    """The workflow with one step more, which has nothing to do before the next round; None: as it is."""
    if loader is None or workflow.step(loader.target) is not None:
        return workflow
    return _replace(workflow, steps=(*workflow.steps, _replace(loader, status=StepStatus.FINISHED)))


def read_letters(workflow: Workflow) -> tuple[PartitionRange, ...]:
    """Their offsets in its topic of dead letters, sorted; its sinks may have committed less, or more.

    A replay counts once each sink has come to its end: what it did not store has come to the end of the topic again.
    """
    replays = [step for step in workflow.steps if step.replay]
    if not replays or any(step.status is not StepStatus.FINISHED for step in replays):
        return workflow.letters_read
    chosen = [PartitionRange.parse_setting(text) for step in replays for text in step.letters]
    return union((*workflow.letters_read, *chosen), most=None) if chosen else ()  # all was read, and committed


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


def open_again(workflow: Workflow, *, prepared: bool) -> Workflow:
    """An ended workflow, going on. prepared: what was known first still holds."""
    return _replace(
        workflow,
        status=Status.PENDING,
        form=form_of(workflow).reopened(workflow, prepared=prepared),
        repairs=0,
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
