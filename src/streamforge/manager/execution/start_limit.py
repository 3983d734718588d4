"""How many workers begin at once, where they are processes of this machine: each start takes a processor's time.

What begins is known from the stored workflows: a manager that follows begins no more.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from streamforge.manager.execution.overview import Overview
from streamforge.manager.lifecycle.start_turns import Place, Room, is_new, is_of_stream, place_of
from streamforge.manager.policy import Policy
from streamforge.manager.workflow import STEP_ENDED, Step, Workflow
from streamforge_utils.ports.launcher import Job
from streamforge_utils.runtime.worker_definition import Source

_KEPT = 4
"""One of so many is kept for steps that have run: they seldom have to wait."""


class StartLimit:
    """At most `policy.max_starting` processes at once have been launched, or are to be, and were not heard yet.

    Loaders of streams that are launched together are one process. jobs: as they were last seen.
    """

    def __init__(self, policy: Policy, overview: Overview, jobs: Callable[[], Mapping[str, Job]]) -> None:
        self._most, self._size = policy.max_starting, policy.basket_size
        self._kept = 0 if self._most is None else self._most // _KEPT
        self._overview = overview
        self._jobs = jobs
        self._passed = set[Place]()

    def room(self, workflow: Workflow | None) -> Room | None:
        """For the steps of the workflow that have no attempt; None: nothing bounds them."""
        if self._most is None or workflow is None or not any(map(_may_begin, workflow.steps)):
            return None
        free, seats = self._free(self._most)
        ahead = {one.target: self._ahead(place_of(workflow, one)) for one in workflow.steps}
        return Room(free=free, kept=self._kept, seats=seats, ahead=ahead)

    def then_next(self, queue_ids: Iterable[str]) -> Iterator[str]:
        """These, then those whose turn it is once they were looked at."""
        yield from list(queue_ids)
        self._passed &= set(self._overview.waiting)
        while (place := self._next()) is not None:
            yield place[2]
            if place in self._overview.waiting:  # it does not take its turn, as it cannot be reconciled: others do
                self._passed.add(place)

    def _ahead(self, place: Place) -> int:
        return bisect_left(self._overview.waiting, place) - sum(one < place for one in self._passed)

    def _next(self) -> Place | None:
        if self._most is None or not self._overview.waiting:
            return None
        (free, seats), ahead = self._free(self._most), 0
        for place in self._overview.waiting:
            rank, target = place[0], place[-1]
            if place in self._passed:
                continue
            if free - (self._kept if is_new(rank) else 0) > ahead or (is_of_stream(rank) and seats.get(target, 0) > 0):
                return place
            ahead += 1
        return None

    def _free(self, most: int) -> tuple[int, dict[str, int]]:
        """How many more processes may begin, and how many loaders of streams fit into those that are to be launched."""
        jobs, coming, processes = self._jobs(), Counter[str](), set[str]()
        for name, step in self._overview.starting.items():
            job = jobs.get(name)
            if job is None and step.source is Source.STREAM:
                coming[step.target] += 1
            else:
                processes.add(name if job is None else job.basket or name)
        baskets = sum(-(-number // self._size) for number in coming.values())
        return most - len(processes) - baskets, {one: -number % self._size for one, number in coming.items()}


def _may_begin(step: Step) -> bool:
    """Whether it may get an attempt once what has ended is counted."""
    attempt = step.attempt
    return step.status not in STEP_ENDED and (attempt is None or attempt.ended_ms is not None)
