"""The counters that alerts look at, there from the start.

A series that appears with its first count has not grown in Prometheus' eyes: the first failure would go unseen.
"""

from __future__ import annotations

from streamforge.manager.execution.tasks import TRIED
from streamforge.manager.workflow import Status
from streamforge_utils.ports.instrumentation import Observer


def begin_at_zero(observer: Observer) -> None:
    """Report 0 for each of them."""
    for name in ("reconcile_failures_total", "workflow_failures_total", "orphans_ended_total", "missing_records_total"):
        observer.count(name, 0)
    for status in Status:
        observer.count("workflow_changes_total", 0, status=status.value)
    for action in (*TRIED, "orphan"):
        observer.count("action_failures_total", 0, action=action)
