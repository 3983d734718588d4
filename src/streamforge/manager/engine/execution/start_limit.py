"""How many workers begin at once where they are processes of this machine: each start takes a processor's time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from streamforge.manager.engine.document import STEP_ENDED, Step, Workflow
from streamforge.manager.engine.execution.overview import Overview
from streamforge.manager.engine.lifecycle.launches import shares_process
from streamforge.manager.policy import Policy
from streamforge_utils.ports.launcher import Job


class StartLimit:
    """`policy.max_starting` processes at most have been planned, and were not heard yet.

    What begins is known from the stored workflows: a manager that follows begins no more. What cannot be launched holds
    no place for longer than a worker has to begin. jobs: as they were last seen.
    """

    def __init__(self, policy: Policy, overview: Overview, jobs: Callable[[], Mapping[str, Job]]) -> None:
        self._policy, self._overview, self._jobs = policy, overview, jobs

    def left(self, workflow: Workflow | None, now_ms: int) -> int | None:
        """How many more processes may begin now; None: nothing bounds them, or the workflow has none to begin."""
        policy = self._policy
        if policy.max_starting is None or workflow is None or not workflow.form.is_prepared:
            return None
        if not any(map(_may_begin, workflow.steps)):
            return None
        jobs, processes = self._jobs(), set[str]()
        since_ms = now_ms - round(1000 * policy.start_within_s)
        for name, step in self._overview.starting.items():
            job = jobs.get(name)
            if step.attempt is None or step.attempt.planned_ms < since_ms:
                continue
            if job is not None:
                processes.add(job.basket or name)
            elif not shares_process(step, policy):
                processes.add(name)
        return policy.max_starting - len(processes)


def _may_begin(step: Step) -> bool:
    """Whether it may get an attempt once what has ended is counted."""
    return step.status not in STEP_ENDED and (step.attempt is None or step.attempt.ended_ms is not None)
