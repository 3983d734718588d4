"""The services of what analysts make."""

from __future__ import annotations

from streamforge.manager.admission import Admission
from streamforge.manager.analysis_inputs import AnalysisInputs
from streamforge.manager.batches.service import BatchService
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.graphs.service import GraphService
from streamforge.manager.models.service import ModelService


def analyst_services(
    deps: Dependencies, admission: Admission, batches: BatchService
) -> tuple[GraphService, ModelService]:
    """Those of graphs and of models."""
    inputs = AnalysisInputs(deps, batches)
    return GraphService(deps, admission, inputs), ModelService(deps, admission, inputs)
