"""The form of workflows that load a past range of a series."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import msgspec

from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Attempt, StepStatus, Workflow
from streamforge.manager.engine.form import Shown
from streamforge.manager.engine.lifecycle.findings import Finding, Planned, Proven
from streamforge.manager.engine.lifecycle.rounds import disjoint, next_round, open_again
from streamforge.manager.engine.refusals import ExchangeFailed
from streamforge.manager.note_codes import told_by
from streamforge.manager.policy import Policy
from streamforge.manager.workflows.history.model import History
from streamforge.manager.workflows.history.planner import prepare, stored_plan, verified
from streamforge.manager.workflows.history.proof import prove
from streamforge.manager.workflows.history.remarks import remarks_of
from streamforge.manager.workflows.history.rounds import archive_round, fallback_round
from streamforge.manager.workflows.series.backlog import backlog_of
from streamforge.manager.workflows.series.form import SeriesForm
from streamforge.manager.workflows.series.jobs import inside
from streamforge.manager.workflows.series.model import Plan, SourceChoice, loaded_series
from streamforge.manager.workflows.series.requests import added_loader, loads_from_archive
from streamforge.manager.workflows.series.rounds import sources_of
from streamforge_utils.model.coverage import joined_reads
from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.runtime.life.worker_definition import Source

_replace = msgspec.structs.replace


class HistoryForm(SeriesForm[History]):
    """Planned by what the exchange and the coverage say, loaded from files and requests, proven by a count."""

    part = History

    async def prepare(self, manager: Dependencies, workflow: Workflow) -> Finding:
        plan = await self._plan(manager, workflow)
        return Planned(plan, added_loader(workflow) if Source.ARCHIVE in plan.ranges else None)

    async def _plan(self, deps: Dependencies, workflow: Workflow) -> Plan:
        """What there is of the workflow's range, which coverage then knows of."""
        mine, series = self.part_of(workflow), loaded_series(workflow)
        known = await verified(deps, workflow)
        if (whole := stored_plan(workflow, known, deps.clock.now_ms() + known.clock_ahead_ms)) is not None:
            return whole
        try:
            exchange_now_ms, now_ms = await deps.exchange.server_time(), deps.clock.now_ms()
            plan = await prepare(
                deps.exchange,
                series,
                workflow.span,
                known.segments,
                exchange_now_ms=exchange_now_ms,
                again=mine.again,
                archive=deps.archive if loads_from_archive(workflow) else None,
                alone=mine.source is SourceChoice.ARCHIVE,
                without=mine.archive_failure,
                begins_ms=known.first_ms,
            )
        except (PermanentError, RetryableError) as error:
            raise ExchangeFailed(error) from error
        await deps.exchange_binding.accept()
        condition = partial(deps.workflows.check_epoch, workflow)
        await deps.coverage.learn_plan(series, plan, now_ms, condition=condition)
        return plan

    def asks_exchange(self, workflow: Workflow) -> bool:
        return True

    def loaded(self, workflow: Workflow, attempt: Attempt) -> Iterable[str]:
        return inside(self.span(workflow), attempt.ranges)

    def count(self, workflow: Workflow, attempt: Attempt) -> Workflow:
        mine = self.part_of(workflow)
        if not attempt.disputed and not attempt.read:
            return workflow
        disputed = disjoint((*mine.disputed, *attempt.disputed))
        return workflow.with_form(disputed=disputed, read=joined_reads((*mine.read, *attempt.read)))

    async def check(self, manager: Dependencies, workflow: Workflow, *, ask: bool, stopping: int) -> Finding | None:
        plan = self.part_of(workflow).plan
        if plan is None:
            return None
        proof = await prove(manager, workflow, plan, ask=ask)
        left = {} if ask else await backlog_of(manager, workflow)
        loader = added_loader(workflow) if proof.in_archive else None
        return Proven(proof=proof, asked=ask, loader=loader, left=left)

    def rerouted(self, workflow: Workflow) -> Workflow | None:
        plan, unloaded = self.part_of(workflow).plan, disjoint(one for step in workflow.steps for one in step.unloaded)
        return fallback_round(workflow, plan, unloaded) if plan is not None and unloaded else None

    def settle(self, workflow: Workflow, now_ms: int, policy: Policy) -> Workflow:
        mine = self.part_of(workflow)
        if mine.plan is not None and mine.proof is not None and mine.proof.in_archive and not mine.archive_searched:
            return archive_round(workflow, mine.plan, mine.proof.in_archive)
        return super().settle(workflow, now_ms, policy)

    def names_archive(self, workflow: Workflow) -> bool:
        return self.part_of(workflow).source is SourceChoice.ARCHIVE

    def recovered(self, workflow: Workflow) -> Workflow | None:
        failure = self._archive_failure(workflow)
        if failure is None:
            return None
        return next_round(open_again(workflow, prepared=False).with_form(archive_failure=failure))

    def _archive_failure(self, workflow: Workflow) -> str | None:
        """Why its loader of files failed, where that is all that failed, and REST can take its place."""
        failed = [step for step in workflow.steps if step.status is StepStatus.ERROR]
        if workflow.stop_asked_ms is not None or [step.source for step in failed] != [Source.ARCHIVE]:
            return None
        if self.part_of(workflow).source is not SourceChoice.AUTO or Source.REST not in sources_of(workflow):
            return None
        reason = "it failed" if failed[0].failure is None else failed[0].failure.reason
        return f"{failed[0].target}: {reason}"

    def reopened(self, workflow: Workflow, *, prepared: bool) -> History:
        mine = _replace(self.part_of(workflow), proof=None, archive_searched=False)
        # What coverage has by the time of the new plan will not be loaded again. A replay loads nothing, and a dead
        # letter may be of a file whose checksum was wrong.
        return mine if prepared else _replace(mine, plan=None, disputed=(), read=(), archive_failure="")

    def parent(self, workflow: Workflow) -> str:
        return self.part_of(workflow).supplements

    def present(self, workflow: Workflow, at_ms: int | None) -> Shown:
        shown, mine = super().present(workflow, at_ms), self.part_of(workflow)
        plan, end_ms = mine.plan, workflow.span.start_ms if shown.span is None else shown.span.end_ms
        expected = None
        if plan is not None:
            expected = plan.expected + plan.there if plan.bars is None else plan.bars
        return _replace(
            shown,
            clipped=mine.clipped or end_ms < workflow.span.end_ms,
            expected=expected,
            summary={"supplements": mine.supplements or None},
            fields={**shown.fields, "again": mine.again, **told_by("remark", remarks_of(mine))},
        )
