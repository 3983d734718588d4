"""Jobs that run though no workflow asks for them: what is left of a launch or an end that was not seen."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import structlog

from streamforge.manager.engine.execution.overview import Overview
from streamforge.manager.engine.services import Services
from streamforge_utils.ports.launcher import Job

_log = structlog.get_logger(__name__)


class Orphans:
    """Tells of each once, and gives it at each look until it is gone: that may take many looks, and tries."""

    def __init__(self, deps: Services, overview: Overview) -> None:
        self._deps, self._overview = deps, overview
        self._told: set[str] = set()

    def found(self, jobs: Mapping[str, Job], running: Collection[str]) -> Iterator[Job]:
        """Those of the running jobs that are not the current attempt of a live workflow, and are to be ended."""
        orphans = set(running) - self._overview.current
        self._told &= orphans
        for name in sorted(orphans):
            job = jobs[name]
            if job.queue_id in self._deps.workflows.unreadable:
                continue
            if name not in self._told:
                self._told.add(name)
                why = "another is" if job.queue_id in self._deps.workflows.live else "its workflow has ended"
                _log.warning("ending a job that is no current attempt", why=why, job=name, queue_id=job.queue_id)
                self._deps.observer.count("orphans_ended_total")
            yield job
