"""What the two forms that load a series have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Attempt, Failure, Status, Step, Workflow
from streamforge.manager.engine.form import Form, Shown
from streamforge.manager.engine.lifecycle.conditions import Conditions
from streamforge.manager.engine.lifecycle.rounds import joined
from streamforge.manager.failure_codes import FailureCode
from streamforge.manager.policy import Policy
from streamforge.manager.workflows.series.jobs import first_id
from streamforge.manager.workflows.series.model import (
    Plan,
    SeriesPart,
    SeriesProof,
    claimed_span,
    is_open,
    loaded_series,
    planned_span,
)
from streamforge.manager.workflows.series.repeated_request import repeated_request
from streamforge.manager.workflows.series.rounds import repair_round
from streamforge.manager.workflows.series.shown import part_answer, requests_s
from streamforge_utils.model.completeness.sequence import UNTOLD
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.runtime.life.worker_definition import Role, Source

S = TypeVar("S", bound=SeriesPart)
_replace = msgspec.structs.replace


class SeriesForm(Form[S, Dependencies]):
    """A form whose workflows load a series: planned, loaded, and proven against the grid of its kind."""

    def awaited(self, workflow: Workflow, conditions: Conditions) -> str:
        return f"the exchange: {conditions.exchange_waits or 'its answer'}"

    def learn(self, workflow: Workflow, found: msgspec.Struct) -> Workflow:
        match found:
            case Plan():
                return workflow.with_form(plan=found)
            case SeriesProof():
                return workflow.with_form(proof=found)
        raise TypeError(f"a workflow of a series cannot learn {found!r}")

    def has_work(self, workflow: Workflow) -> bool:
        plan = self.part_of(workflow).plan
        return plan is not None and bool(plan.parts)

    def leaves_something(self, workflow: Workflow) -> bool:
        return self.has_work(workflow)

    def ranges(self, workflow: Workflow) -> Mapping[Source, tuple[str, ...]]:
        plan = self.part_of(workflow).plan
        return {} if plan is None else plan.ranges

    def span(self, workflow: Workflow) -> TimeRange:
        return planned_span(workflow) or workflow.span

    def environment(self, workflow: Workflow, step: Step, attempt: Attempt) -> Mapping[str, str]:
        told = {"INTERVAL": loaded_series(workflow).interval}
        if step.role is Role.LOADER:
            told["STREAMFORGE_RANGES"] = ",".join(self.loaded(workflow, attempt))
            if (following := first_id(workflow, step, attempt)) is not None:
                told["STREAMFORGE_FIRST_ID"] = str(following)
        return told

    @abstractmethod
    def loaded(self, workflow: Workflow, attempt: Attempt) -> Iterable[str]:
        """The ranges that an attempt of a loader loads, as texts."""

    def settle(self, workflow: Workflow, now_ms: int, policy: Policy) -> Workflow:
        proof = self.part_of(workflow).proof
        segments = () if proof is None else proof.segments
        holes: list[TimeRange] = [segment.span for segment in segments if segment.verdict is Verdict.OURS]
        unknown = [segment for segment in segments if segment.verdict is Verdict.UNKNOWN]
        ours = joined(holes)
        if not ours and not unknown:
            return workflow.next_epoch(status=Status.FINISHED, waiting_for="", ended_ms=now_ms)
        if workflow.repairs >= policy.max_repairs or not ours:
            causes = {one.span: f" ({one.cause})" if one.cause else "" for one in segments if is_open(one)}
            still = [f"{span}{causes.get(span, '')}" for span in (*ours, *(one.span for one in unknown))]
            failure = Failure(
                code=FailureCode.HOLES_LEFT,
                reason=f"{len(holes) + len(unknown)} holes are still there after {workflow.repairs} rounds of repair: "
                + ", ".join(still[:5]),
                next_step=self._advice(workflow, unknown)
                if all(causes.values())
                else "look at the dead letters of the workflow for records that were refused, then retry it",
            )
            return workflow.next_epoch(failure=failure)
        return repair_round(_replace(workflow, repairs=workflow.repairs + 1), ours)

    def _advice(self, workflow: Workflow, unknown: Sequence[Segment]) -> str:
        """What to do about ranges that no source of the workflow has, or whose records contradict each other."""
        plan = self.part_of(workflow).plan
        if not unknown:
            return "load it and what lies beside it again over REST alone (source=rest, again)"
        if any(one.cause.endswith(UNTOLD) for one in unknown):
            return "retry it: what lacks is then read from the files again"
        if plan is not None and plan.archived:
            return "ask for ranges that have files: only the archive has the symbol"
        floor_ms = 0 if plan is None else plan.floor_ms or 0
        if self.names_archive(workflow) and any(one.end_ms > floor_ms for one in unknown):
            return "load it again without naming a source: what no file has is then asked for by requests"
        return "ask for a range that the exchange still gives"

    def names_archive(self, workflow: Workflow) -> bool:
        """Whether it was asked for from files alone."""
        return False

    def claim(self, workflow: Workflow) -> TimeRange | None:
        return claimed_span(workflow)

    async def forget(self, manager: Dependencies, workflow: Workflow, *, data: bool) -> int:
        series, span, records = loaded_series(workflow), planned_span(workflow), 0
        if data and span is not None:
            records = await manager.removal.remove_all(series, workflow.placement, span)
        others = manager.workflows.of_series(workflow.symbol, workflow.type)
        spans = [planned_span(one) async for one in others if one.queue_id != workflow.queue_id]
        await manager.coverage.unask(series, span, [one for one in spans if one is not None], lost=data)
        return records

    def present(self, workflow: Workflow, at_ms: int | None) -> Shown:
        part = self.part_of(workflow)
        plan, proof = part.plan, part.proof
        return Shown(
            span=planned_span(workflow),
            there=0 if plan is None else plan.there,
            requests_s=requests_s(workflow, plan),
            segments=() if proof is None else proof.segments,
            fields={"parts": [] if plan is None else [part_answer(one) for one in plan.parts]},
        )

    def requested(self, workflow: Workflow) -> Mapping[str, Any]:
        return repeated_request(workflow)
