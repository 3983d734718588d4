"""The rounds of a workflow: its first run, a repair, a retry, a replay of its dead letters. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from streamforge.manager.workflow import Plan, Status, Step, StepStatus, Workflow
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.runtime.worker_definition import Role, Source

_replace = msgspec.structs.replace

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
            failures=0,
            disruptions=0,
            not_before_ms=0,
            failure=None,
            left=None,
            left_at_least=False,
        )
        for step in workflow.steps
    )
    return workflow.next_epoch(steps=steps)


def repair_round(workflow: Workflow, ranges: tuple[str, ...]) -> Workflow:
    """The workflow loading `ranges` again: over REST, where a loader of it can do that."""
    sources = {step.source for step in workflow.steps if step.role is Role.LOADER}
    return next_round(workflow, dict.fromkeys({Source.REST} & sources or sources, ranges))


def replay_round(workflow: Workflow) -> Workflow:
    """The workflow with its sinks waiting to read the dead letters; its loaders have nothing to do."""
    again = next_round(workflow)
    return _replace(
        again,
        steps=tuple(
            _replace(step, status=StepStatus.FINISHED) if step.role is Role.LOADER else _replace(step, replay=True)
            for step in again.steps
        ),
    )


def next_number(step: Step) -> int:
    """The number of the step's next attempt; none is ever used twice, though old attempts are forgotten."""
    return step.attempts[-1].number + 1 if step.attempts else 1


def open_again(workflow: Workflow, plan: Plan | None) -> Workflow:
    """An ended workflow, going on."""
    return _replace(
        workflow,
        status=Status.PENDING,
        plan=plan,
        proof=None,
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


def joined(ranges: list[TimeRange]) -> list[TimeRange]:
    """`ranges` (sorted) themselves, or one around all of them where they are too many."""
    return ranges if len(ranges) <= MAX_RANGES else [TimeRange(ranges[0].start_ms, ranges[-1].end_ms)]
