"""The services of what analysts make."""

from __future__ import annotations

from streamforge.analytics.graphs.order import made_name, order_name
from streamforge.manager.admission import Admission
from streamforge.manager.analysis_inputs import AnalysisInputs
from streamforge.manager.batch_service import BatchService
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Workflow
from streamforge.manager.graph_service import GraphService
from streamforge.manager.model_service import ModelService


def analyst_services(
    deps: Dependencies, admission: Admission, batches: BatchService
) -> tuple[GraphService, ModelService]:
    """Those of graphs and of models."""
    inputs = AnalysisInputs(deps, batches)
    return GraphService(deps, admission, inputs), ModelService(deps, admission, inputs)


async def forget(deps: Dependencies, workflow: Workflow) -> None:
    """Remove what the analyst of a workflow was told, and has told; what it made stays."""
    if workflow.analysis is not None and deps.objects is not None:
        await deps.objects.delete([order_name(workflow.queue_id), made_name(workflow.queue_id)])
