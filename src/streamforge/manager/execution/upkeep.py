"""What the manager does beside its workflows, at the times at which the loop says so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.execution.dispatcher import Kind, Work
from streamforge.manager.engine.execution.reconciler import Reconciler
from streamforge.manager.execution.verifier import Verifier
from streamforge.manager.logs.driver import LogKeeper
from streamforge.manager.retention.driver import Retention
from streamforge.manager.workflows.live.metrics import LiveMetrics
from streamforge_utils.ports.launcher import Job


class ManagerUpkeep:
    """Keeps logs, removes what was kept long enough, verifies what is stored, and reports live workflows."""

    def __init__(self, deps: Dependencies, reconciler: Reconciler) -> None:
        self.retention = Retention(deps, reconciler.executor, reconciler.inbox)
        self._verifier, self._logs = Verifier(deps), LogKeeper(deps)
        self._live_metrics = LiveMetrics(deps.observer)
        reconciler.upkeep = self

    def after_changes(self, jobs: Iterable[Job]) -> Iterator[Work]:
        """What follows from jobs that have changed."""
        if self._logs.hear(jobs):
            yield Work(("KeepLogs", "", ""), Kind.KEEPING, self._logs.keep())

    def now_and_then(self) -> Iterator[Work]:
        """What is done again and again."""
        # Beside the loop: there may be many ended workflows.
        for name, work in self.retention.parts().items():
            yield Work(("Retain", "", name), Kind.RETAINING, work)
        yield Work(("Verify", "", ""), Kind.VERIFYING, self._verifier.look())

    def observe(self, workflows: Iterable[Workflow], now_ms: int) -> None:
        """Report the workflows that have not ended, as they are now."""
        self._live_metrics.observe(workflows, now_ms)
