"""Which workers begin first, where only so many processes may begin at a time. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from streamforge.manager.workflow import Step, StepStatus, Workflow
from streamforge_utils.runtime.worker_definition import Role, Source

Place = tuple[int, int, str, bool, str]
"""Among the steps that wait for their turn; the lowest one is the next."""
_NEW = 2


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """How many processes may begin now, as a workflow's steps see it.

    kept: of those that are free, for steps that have run. seats: by target, how many loaders of streams may join a
    process that is about to begin. ahead: by target, how many steps that wait come first.
    """

    free: int
    kept: int = 0
    seats: Mapping[str, int] = {}
    ahead: Mapping[str, int] = {}

    def admits(self, step: Step) -> bool:
        """Whether its next attempt may be made now."""
        free = self.free if has_run(step) else self.free - self.kept
        return self._has_seat(step) or free > self.ahead.get(step.target, 0)

    def after(self, step: Step) -> Room:
        """What is left once it was made."""
        return self if self._has_seat(step) else msgspec.structs.replace(self, free=self.free - 1)

    def _has_seat(self, step: Step) -> bool:
        return step.source is Source.STREAM and self.seats.get(step.target, 0) > 0


def has_run(step: Step) -> bool:
    """Whether its next attempt goes on where another one of this round ended."""
    return step.attempt is not None and step.attempt.number >= step.round_from


def place_of(workflow: Workflow, step: Step) -> Place:
    """What has run goes before what is new; loaders of streams before others: what they miss is on no topic.

    Then those of the workflow that was asked for first, sinks before loaders.
    """
    rank = _NEW * (not has_run(step)) + (step.source is not Source.STREAM)
    return rank, workflow.created_ms, workflow.queue_id, step.role is Role.LOADER, step.target


def is_new(rank: int) -> bool:
    """Whether the first part of a place is that of a step that has not run in its round."""
    return rank >= _NEW


def is_of_stream(rank: int) -> bool:
    """Whether it is that of a loader of a stream."""
    return rank % _NEW == 0


def its_turn(step: Step) -> str:
    """What a workflow waits for whose step may not begin yet."""
    return f"its turn to start {step.target}: other workers are starting"


def places_of(workflow: Workflow) -> list[Place]:
    """Of its steps that wait for their turn."""
    waiting = workflow.waiting_for
    return [
        place_of(workflow, one)
        for one in workflow.steps
        if one.status is StepStatus.WAITING and waiting == its_turn(one)
    ]
