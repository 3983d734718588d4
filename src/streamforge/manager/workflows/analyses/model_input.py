"""What a workflow remembers of the model that it trains, or lets score."""

from __future__ import annotations

import msgspec

from streamforge.analytics.models.dataset_definition import DatasetDefinition
from streamforge.analytics.models.evaluation_settings import EvaluationSettings
from streamforge.analytics.models.scoring_order import ScoringOrder
from streamforge.analytics.models.training_order import TrainingOrder
from streamforge.manager.failure_codes import FailureCode
from streamforge_utils.model.timeranges import TimeRange

TARGET = "gnn-trainer"
TYPE = "gnn_train"
SCORE_TYPE = "gnn_score"


class ModelInput(msgspec.Struct, frozen=True, kw_only=True, tag_field="makes", tag="model"):
    """The model that a workflow trains, and on what; all its bars lie before the end of the workflow's span.

    type, symbols: of the series. batch: the one by which they are loaded; empty: none is known. run_id, outcome: of
    what was published and found whole.
    """

    name: str
    dataset: DatasetDefinition
    evaluation: EvaluationSettings
    type: str
    symbols: tuple[str, ...]
    batch: str = ""
    run_id: str = ""
    outcome: str = ""

    @property
    def incomplete(self) -> FailureCode:
        """The code of a failure: something of it is gone."""
        return FailureCode.MODEL_INCOMPLETE

    def order(self, span: TimeRange) -> TrainingOrder:
        """What gnn-trainer is told, but for the inputs. span: of the workflow."""
        return TrainingOrder(
            name=self.name,
            dataset=self.dataset,
            evaluation=self.evaluation,
            type=self.type,
            start_ms=span.start_ms,
            end_ms=span.end_ms,
            inputs={},
        )


class ScoreInput(msgspec.Struct, frozen=True, kw_only=True, tag_field="makes", tag="scores"):
    """The published model that a workflow lets score the moments of its span. model: its object. Others as of
    `ModelInput`."""

    name: str
    run_id: str
    model: str
    dataset: DatasetDefinition
    type: str
    symbols: tuple[str, ...]
    batch: str = ""

    @property
    def incomplete(self) -> FailureCode:
        """The code of a failure: something of it is gone."""
        return FailureCode.MODEL_INCOMPLETE

    def order(self, span: TimeRange) -> ScoringOrder:
        """What gnn-trainer is told, but for the inputs. span: of the workflow."""
        return ScoringOrder(
            name=self.name,
            run_id=self.run_id,
            model=self.model,
            dataset=self.dataset,
            type=self.type,
            start_ms=span.start_ms,
            end_ms=span.end_ms,
            inputs={},
        )
