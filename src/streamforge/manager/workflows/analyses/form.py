"""The form of workflows that make graphs, models and scores of stored series."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from streamforge.analytics.graphs.order import made_name, order_name
from streamforge.manager import answers
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Failure, Proof, Status, Workflow
from streamforge.manager.engine.form import Form, Shown
from streamforge.manager.engine.lifecycle.conditions import Conditions
from streamforge.manager.engine.lifecycle.findings import Finding
from streamforge.manager.engine.refusals import NotNow
from streamforge.manager.note_codes import NoteCode, Noted, noted, told_by
from streamforge.manager.policy import Policy
from streamforge.manager.workflows.analyses.graph_input import GraphInput
from streamforge.manager.workflows.analyses.model import Analysis, Made, Ordered
from streamforge.manager.workflows.analyses.model_input import ModelInput, ScoreInput
from streamforge.manager.workflows.analyses.plan import plan_analysis, prove_analysis
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.timeranges import TimeRange

_replace = msgspec.structs.replace


class AnalysesForm(Form[Analysis, Dependencies]):
    """Prepared once all that it sees is proven, made by one analyst, proven by what that one has published."""

    part = Analysis

    async def prepare(self, manager: Dependencies, workflow: Workflow) -> Finding:
        return await plan_analysis(manager, workflow, self.part_of(workflow).made)

    def awaited(self, workflow: Workflow, conditions: Conditions) -> str:
        return workflow.waiting_for or "the coverage of its series"

    def learn(self, workflow: Workflow, found: msgspec.Struct) -> Workflow:
        match found:
            case Ordered(moments):
                return workflow.with_form(moments=moments)
            case Proof():
                return workflow.with_form(proof=found)
            case GraphInput() | ModelInput() | ScoreInput():
                return workflow.with_form(made=found)
        raise TypeError(f"a workflow of an analyst cannot learn {found!r}")

    def has_work(self, workflow: Workflow) -> bool:
        return True

    async def check(self, manager: Dependencies, workflow: Workflow, *, ask: bool, stopping: int) -> Finding | None:
        return await prove_analysis(manager, workflow, self.part_of(workflow).made)

    def leaves_something(self, workflow: Workflow) -> bool:
        return False

    def settle(self, workflow: Workflow, now_ms: int, policy: Policy) -> Workflow:
        mine = self.part_of(workflow)
        proof, made = mine.proof, mine.made
        if proof is None:
            return workflow
        if proof.is_whole:
            return workflow.next_epoch(status=Status.FINISHED, waiting_for="", ended_ms=now_ms)
        failure = Failure(
            code=made.incomplete,
            reason=f"of {proof.expected:,} moments of {made.name} only {proof.stored:,} are there after all were made",
            next_step="see whether something else removes objects or documents of it, then retry the workflow",
        )
        return workflow.next_epoch(failure=failure)

    def reopened(self, workflow: Workflow, *, prepared: bool) -> Analysis:
        mine = self.part_of(workflow)
        return _replace(mine, proof=None, moments=mine.moments if prepared else None)

    def claim(self, workflow: Workflow) -> TimeRange | None:
        return workflow.span

    def holds_slot(self, workflow: Workflow) -> bool:
        """Not while it waits until others have loaded what it makes something of: it must not take their slot."""
        return self.part_of(workflow).is_prepared

    async def forget(self, manager: Dependencies, workflow: Workflow, *, data: bool) -> int:
        """What the analyst was told, and has told, goes; what it made stays."""
        made = self.part_of(workflow).made
        if data:
            raise InvalidInput(
                "data", f"{workflow.queue_id} made {made.name}: remove it without data, or remove {made.name}"
            )
        if manager.objects is not None:
            await manager.objects.delete([order_name(workflow.queue_id), made_name(workflow.queue_id)])
        return 0

    def present(self, workflow: Workflow, at_ms: int | None) -> Shown:
        mine = self.part_of(workflow)
        made, name = mine.made, mine.made.name
        of = answers.AnalysisSeries(symbols=list(made.symbols), type=made.type, batch=made.batch or None)
        named = {"graph": name} if isinstance(made, GraphInput) else {"model": name}
        remarks = told_by("remark", remarks_of(made))
        return Shown(span=workflow.span, expected=mine.moments, fields={**named, "made_of": of, **remarks})

    def requested(self, workflow: Workflow) -> Mapping[str, Any]:
        name = self.part_of(workflow).made.name
        raise NotNow(f"{workflow.queue_id} makes {name} and loads no series: ask for {name} again")


def remarks_of(made: Made) -> list[Noted]:
    """What is remarkable of what was made."""
    if not isinstance(made, GraphInput) or not made.graph_id or made.edges:
        return []
    text = (
        f"no snapshot of graph {made.graph} has an edge: prices stand still, holes are many, or no association is so "
        "large; name other coins, or lower threshold, min_overlap or min_volatility"
    )
    return [noted(text, NoteCode.NO_EDGES, graph=made.graph)]
