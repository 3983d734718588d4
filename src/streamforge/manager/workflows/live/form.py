"""The form of workflows that load a series as it happens."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import structlog

from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Attempt, Workflow
from streamforge.manager.engine.form import Shown
from streamforge.manager.engine.lifecycle.ban import ban_told
from streamforge.manager.engine.lifecycle.findings import Compared, Finding
from streamforge.manager.engine.lifecycle.topic_lifetime import leaves_some
from streamforge.manager.engine.refusals import ExchangeFailed
from streamforge.manager.policy import Policy
from streamforge.manager.workflows.live.answers import live_answer
from streamforge.manager.workflows.live.ends import Began, Closed, begun, closed
from streamforge.manager.workflows.live.interval_comparison import comparison_of
from streamforge.manager.workflows.live.model import Ledger, Live
from streamforge.manager.workflows.live.pace import is_due
from streamforge.manager.workflows.live.supplements import supplemented
from streamforge.manager.workflows.series.form import SeriesForm
from streamforge.manager.workflows.series.jobs import inside
from streamforge.manager.workflows.series.model import loaded_series
from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.model.kinds.registry import rule_of
from streamforge_utils.model.timeranges import TimeRange

_replace = msgspec.structs.replace
_log = structlog.get_logger(__name__)


class LiveForm(SeriesForm[Live]):
    """Planned by what the exchange says now, loaded from its stream, proven through a moment that moves."""

    part = Live
    continuous = True

    async def prepare(self, manager: Dependencies, workflow: Workflow) -> Finding:
        try:
            return await begun(manager, workflow)
        except (PermanentError, RetryableError) as error:
            raise ExchangeFailed(error) from error

    def asks_exchange(self, workflow: Workflow) -> bool:
        mine = self.part_of(workflow)
        return mine.plan is None or mine.ledger is None

    def learn(self, workflow: Workflow, found: msgspec.Struct) -> Workflow:
        match found:
            case Began(plan, ledger):
                return workflow.with_form(plan=plan, ledger=ledger)
            case Ledger():
                return workflow.with_form(ledger=found)
            case Closed(ledger):  # its range is from now on what it has come to
                span = ledger.span or workflow.span
                return _replace(workflow.with_form(ledger=ledger), span=span)
        return super().learn(workflow, found)

    def span(self, workflow: Workflow) -> TimeRange:
        """It has no end, and begins with its stream: what is on the topic of an earlier time is of a round before."""
        ledger = self.part_of(workflow).ledger
        if ledger is None:
            return super().span(workflow)
        return TimeRange(ledger.stream_ms, ledger.resume_ms + 1000)

    def loaded(self, workflow: Workflow, attempt: Attempt) -> Iterable[str]:
        """From where on, if it finds nothing on the topic: all before is stored."""
        ledger = self.part_of(workflow).ledger
        if ledger is None:
            return inside(self.span(workflow), attempt.ranges)
        return (str(TimeRange(ledger.resume_ms, ledger.resume_ms + 1000)),)

    def is_comparison_due(self, workflow: Workflow, now_ms: int, policy: Policy, continuous: int) -> bool:
        ledger = self.part_of(workflow).ledger
        return ledger is not None and is_due(ledger, now_ms, policy, continuous)

    async def compare(self, manager: Dependencies, workflow: Workflow, *, ask: bool) -> Finding | None:
        ledger = self.part_of(workflow).ledger
        if ledger is None:
            return None
        ban, comparison = None, comparison_of(manager, workflow, ledger)
        try:
            await comparison.step()
            if ask:
                await comparison.quiet()
        except ExchangeFailed as failed:  # the next step asks again
            _log.info("the exchange did not answer about a live series", queue_id=workflow.queue_id, error=str(failed))
            ban = ban_told(failed.error, manager.clock.now_ms())
        wanted = await comparison.lacking()
        return Compared(await supplemented(manager, workflow, comparison.ledger, wanted), ban)

    async def check(self, manager: Dependencies, workflow: Workflow, *, ask: bool, stopping: int) -> Finding | None:
        ledger = self.part_of(workflow).ledger
        return None if ledger is None else await closed(manager, workflow, ledger, stopping, ask=ask)

    def ends_in_time(self, workflow: Workflow) -> bool:
        return self.part_of(workflow).ledger is not None

    def is_whole(self, workflow: Workflow) -> bool:
        return super().is_whole(workflow) and not leaves_some(workflow)

    def reopened(self, workflow: Workflow, *, prepared: bool) -> Live:
        """It starts again behind what it has proven: what lacks before is history."""
        mine = self.part_of(workflow)
        ledger = mine.ledger
        if ledger is not None:
            ledger = Ledger(
                from_ms=ledger.from_ms,
                stream_ms=ledger.resume_ms,
                supplements=ledger.supplements,
                entry_id=ledger.entry_id,
                segment_id=ledger.segment_id,
            )
        return Live(plan=mine.plan if prepared else None, ledger=ledger)

    def lasting(self, workflow: Workflow) -> Live:
        mine = self.part_of(workflow)
        return (
            mine if mine.ledger is None else _replace(mine, ledger=_replace(mine.ledger, compared_ms=0, behind=False))
        )

    def present(self, workflow: Workflow, at_ms: int | None) -> Shown:
        shown, ledger = super().present(workflow, at_ms), self.part_of(workflow).ledger
        if ledger is None:
            return shown
        return _replace(
            shown,
            stored=ledger.stored,  # with what its supplements have stored
            # Sinks of order books count documents, and diffs are what is stored.
            by_loaders=not rule_of(loaded_series(workflow)).is_counted,
            summary={"live": live_answer(workflow, at_ms)},
        )
