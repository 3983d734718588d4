"""The keys and the kinds of the work that goes on beside the loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum, unique

import structlog

from streamforge.manager.dependencies import Dependencies
from streamforge.manager.lifecycle.actions import Action, EndJob, Prepare, Prove, SendStop
from streamforge.manager.workflow import Status, Workflow
from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.ports.instrumentation import Observer

Key = tuple[str, ...]

_log = structlog.get_logger(__name__)

TRIED = {
    "Prepare": "the exchange's answer",
    "Launch": "the start of its workers",
    "SendStop": "the stop of its workers",
    "EndJob": "the end of its workers",
    "WriteTerminalEvent": "the terminal event of a worker",
    "Prove": "the proof",
}
"""Every action in words, by the first part of its key."""


def key_of(workflow: Workflow, action: Action) -> Key:
    """What an action is known by: its name, its workflow and what of it is meant.

    What finds something out does so for one epoch: in the next one it is another action.
    """
    match action:
        case Prepare():
            what = str(workflow.epoch)
        case Prove(ask):
            what = f"{'ask' if ask else 'survey'} {workflow.epoch}"
        case EndJob(job):
            what = job
        case SendStop(target):
            step = workflow.step(target)
            what = target if step is None or step.attempt is None else step.attempt.job
        case _:
            what = getattr(action, "target", "")
    return type(action).__name__, workflow.queue_id, what


@unique
class Kind(IntEnum):
    """How many run at once. None holds up another kind: a proof may walk through a year of seconds.

    Ending a job waits until it is gone, a minute where its node is lost: all of a node's must hold up nothing else.
    """

    RETAINING = 1
    VERIFYING = 2
    SURVEYING = 3
    PROVING = 4
    PLANNING = 6
    SHORT = 16
    ENDING = 64


def kind_of(action: Action) -> Kind:
    """The kind of an action."""
    match action:
        case Prepare():
            return Kind.PLANNING
        case Prove(ask):
            return Kind.PROVING if ask else Kind.SURVEYING
        case EndJob():
            return Kind.ENDING
    return Kind.SHORT


def begin_at_zero(observer: Observer) -> None:
    """Report 0 for each counter that alerts look at.

    A series that appears with its first count has not grown in Prometheus' eyes: the first failure would go unseen.
    """
    for name in ("reconcile_failures_total", "workflow_failures_total", "orphans_ended_total", "missing_records_total"):
        observer.count(name, 0)
    for status in Status:
        observer.count("workflow_changes_total", 0, status=status.value)
    for action in (*TRIED, "RemoveTopics", "orphan"):
        observer.count("action_failures_total", 0, action=action)


@contextmanager
def tried_again_later(deps: Dependencies, action: str, **subject: str) -> Iterator[None]:
    """An error in the block is counted and logged: a later look does the same again. subject: for the log."""
    try:
        yield
    except (StreamForgeError, OSError) as error:
        deps.observer.count("action_failures_total", action=action)
        _log.warning("maintenance failed, it will be tried again", action=action, error=str(error), **subject)
