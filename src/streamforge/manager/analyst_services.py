"""The services of what analysts make."""

from __future__ import annotations

from streamforge.manager.admission import Admission
from streamforge.manager.analysis_inputs import AnalysisInputs
from streamforge.manager.batch_service import BatchService
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.graph_service import GraphService
from streamforge.manager.model_service import ModelService


def analyst_services(
    deps: Dependencies, admission: Admission, batches: BatchService
) -> tuple[GraphService, ModelService]:
    """Those of graphs and of models."""
    inputs = AnalysisInputs(deps, batches)
    return GraphService(deps, admission, inputs), ModelService(deps, admission, inputs)
