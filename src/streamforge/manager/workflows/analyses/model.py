"""What a workflow of an analyst keeps in its document: what it makes, and of what."""

from __future__ import annotations

import msgspec

from streamforge.manager.engine.document import FormPart, Proof, Workflow
from streamforge.manager.workflows.analyses.graph_input import GraphInput
from streamforge.manager.workflows.analyses.model_input import ModelInput, ScoreInput

Made = GraphInput | ModelInput | ScoreInput
"""What an analyst makes."""


class Ordered(msgspec.Struct, frozen=True):
    """All that the analyst sees is proven, and its order is stored. moments: how many it will make."""

    moments: int


class Analysis(FormPart, msgspec.Struct, frozen=True, kw_only=True, tag="analyses"):
    """The part of the document. moments: how many will be made; None: its inputs are not proven yet."""

    made: Made
    moments: int | None = None
    proof: Proof | None = None

    @property
    def is_prepared(self) -> bool:
        return self.moments is not None


def analysis_of(workflow: Workflow) -> Made | None:
    """What the analyst of the workflow makes; None: it has none."""
    return workflow.form.made if isinstance(workflow.form, Analysis) else None


def graph_of(workflow: Workflow) -> GraphInput | None:
    """The graph that it makes."""
    made = analysis_of(workflow)
    return made if isinstance(made, GraphInput) else None


def model_of(workflow: Workflow) -> ModelInput | None:
    """The model that it trains."""
    made = analysis_of(workflow)
    return made if isinstance(made, ModelInput) else None
