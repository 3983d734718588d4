"""What is different for a workflow that makes a graph: how its proof ends it. Pure."""

from __future__ import annotations

from streamforge.manager.failure_codes import FailureCode
from streamforge.manager.workflow import Failure, Proof, Status, Workflow


def conclude_graph(workflow: Workflow, proof: Proof, now_ms: int) -> Workflow:
    """The workflow after its proof: finished, or failed."""
    if proof.stored == proof.expected:
        return workflow.next_epoch(status=Status.FINISHED, waiting_for="", ended_ms=now_ms)
    failure = Failure(
        code=FailureCode.GRAPH_INCOMPLETE,
        reason=f"of {proof.expected:,} snapshots only {proof.stored:,} are there after all were made",
        next_step="see whether something else removes objects or documents of the graph, then retry the workflow",
    )
    return workflow.next_epoch(failure=failure)
