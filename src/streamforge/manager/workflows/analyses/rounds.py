"""What is different for a workflow of an analyst: how its proof ends it. Pure."""

from __future__ import annotations

from streamforge.manager.engine.document import Failure, Proof, Status, Workflow
from streamforge.manager.workflows.analyses.graph_input import GraphInput
from streamforge.manager.workflows.analyses.model_input import ModelInput, ScoreInput


def conclude_analysis(
    workflow: Workflow, made: GraphInput | ModelInput | ScoreInput, proof: Proof, now_ms: int
) -> Workflow:
    """The workflow after its proof: finished, or failed."""
    if proof.stored == proof.expected:
        return workflow.next_epoch(status=Status.FINISHED, waiting_for="", ended_ms=now_ms)
    failure = Failure(
        code=made.incomplete,
        reason=f"of {proof.expected:,} moments of {made.name} only {proof.stored:,} are there after all were made",
        next_step="see whether something else removes objects or documents of it, then retry the workflow",
    )
    return workflow.next_epoch(failure=failure)
