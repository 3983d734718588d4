"""How many loaders are handed over at once for their image: for an upgrade all of them are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.execution.overview import Overview
from streamforge.manager.policy import Policy
from streamforge_utils.ports.launcher import Job, JobState

_SNAPSHOT_WEIGHT = 50
"""Of the exchange, for an order book with the usual levels."""


class HandoverLimit:
    """So many workflows as half of the weight of a minute pays a snapshot for, and as may be launched in five minutes.

    Loaders of one process are handed over together, however many they are: so they are one process again.
    """

    def __init__(self, policy: Policy, overview: Overview) -> None:
        self.most = max(1, min(policy.weight_per_minute // (2 * _SNAPSHOT_WEIGHT), policy.connects // 4))
        self._overview = overview
        self._jobs: Mapping[str, Job] = {}
        self._together: dict[str, set[str]] = {}

    def may_begin(self, workflow: Workflow | None, jobs: Mapping[str, Job]) -> bool:
        """Whether its loader may be handed over beside those of others; None: it depends on the workflow.

        jobs: as they were last seen.
        """
        queue_id = "" if workflow is None else workflow.queue_id
        others = self._overview.handing_over - {queue_id}
        if workflow is None or not others:
            return True
        if jobs is not self._jobs:
            self._jobs, self._together = jobs, _together(jobs)
        together = self._together.get(queue_id, {queue_id})
        others -= together
        if len(others) < self.most:  # those of their processes are about to follow
            others = others.union(*(self._together.get(one, ()) for one in others))
        return not others or len(others) + len(together) <= self.most


def _together(jobs: Mapping[str, Job]) -> dict[str, set[str]]:
    """The workflows that share a process with each one, itself among them."""
    baskets: dict[str, set[str]] = defaultdict(set)
    for job in jobs.values():
        if job.basket and job.state is JobState.RUNNING:
            baskets[job.basket].add(job.queue_id)
    found: dict[str, set[str]] = defaultdict(set)
    for members in baskets.values():
        for queue_id in members:
            found[queue_id] |= members
    return found
