"""What the feed of changes reads of the manager."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streamforge.manager.batches.service import BatchService, View
from streamforge.manager.coverage.service import Reports
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.refusals import NotFound
from streamforge.manager.persistence.change_notes import ChangeNotes
from streamforge.manager.schedules.service import Listed, ScheduleService
from streamforge.manager.use_cases import Report
from streamforge_utils.model.errors import ConfigError


class FeedSource:
    """Documents as they are now. Every call raises RetryableError."""

    def __init__(self, deps: Dependencies, reports: Reports, batches: BatchService, schedules: ScheduleService) -> None:
        self._deps = deps
        self._reports = reports
        self._batches = batches
        self._schedules = schedules

    @property
    def changes(self) -> ChangeNotes:
        """What has changed."""
        return self._deps.changes

    @property
    def elsewhere(self) -> bool:
        """Whether another manager writes the documents, so that nobody here sees them change."""
        return self._deps.no_driver_reason is not None

    async def workflow(self, queue_id: str) -> Workflow | None:
        """None: there is none, or none that can be read."""
        return await self._deps.workflows.readable(queue_id)

    async def batch(self, batch_id: str) -> View | None:
        """None: there is none, or none that can be read."""
        try:
            return await self._batches.glance(batch_id)
        except ConfigError:
            return None

    async def schedule(self, name: str) -> Listed | None:
        """None: there is none, or none that can be read."""
        try:
            return await self._schedules.get(name)
        except (NotFound, ConfigError):
            return None

    async def reports(self, workflows: Sequence[Workflow]) -> Mapping[str, Report]:
        """As `Reports.of_ended`."""
        return await self._reports.of_ended(workflows)
