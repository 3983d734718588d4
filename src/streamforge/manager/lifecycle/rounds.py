"""The rounds of a workflow: its first run, a repair, a retry, a replay of its dead letters. Pure."""

from __future__ import annotations

import msgspec

from streamforge.manager.workflow import Plan, Status, Step, StepStatus, Workflow
from streamforge_utils.runtime.worker_definition import Role

_replace = msgspec.structs.replace


def next_round(workflow: Workflow, ranges: tuple[str, ...]) -> Workflow:
    """The workflow with every step waiting for a new round of attempts, the loaders on `ranges`."""
    steps = tuple(
        _replace(
            step,
            status=StepStatus.WAITING,
            round_from=next_number(step),
            ranges=ranges if step.role is Role.LOADER else (),
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


def replay_round(workflow: Workflow) -> Workflow:
    """The workflow with its sinks waiting to read the dead letters; its loaders have nothing to do."""
    again = next_round(workflow, ())
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
