"""What gnn-trainer is told: the dataset, how models are compared, and of each input what is proven to be stored."""

from __future__ import annotations

from streamforge.analytics.graphs.definition import GraphDefinition
from streamforge.analytics.graphs.order import Order
from streamforge.analytics.models.dataset_definition import DatasetDefinition
from streamforge.analytics.models.evaluation_settings import EvaluationSettings
from streamforge_utils.model.timeranges import TimeRange


class TrainingOrder(Order, frozen=True, kw_only=True):
    """A model that is to be trained and published. Its moments begin at `start_ms`, and all their targets end by
    `end_ms`."""

    name: str
    dataset: DatasetDefinition
    evaluation: EvaluationSettings

    @property
    def definition(self) -> GraphDefinition:
        """Of the graph."""
        return self.dataset.graph

    @property
    def times(self) -> range:
        """The moments of decision."""
        return self.dataset.decision_times(self.start_ms, self.end_ms)

    @property
    def seen(self) -> TimeRange:
        """The half-open range of the bars that count for any moment or target."""
        return self.dataset.seen(self.times)
