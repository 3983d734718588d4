"""The order for gnn-trainer to score moments with a published model. Needs no arithmetic."""

from __future__ import annotations

from streamforge.analytics.graphs.definition import GraphDefinition
from streamforge.analytics.graphs.order import Order
from streamforge.analytics.models.dataset_definition import DatasetDefinition
from streamforge_utils.model.timeranges import TimeRange


class ScoringOrder(Order, frozen=True, kw_only=True):
    """Moments that are to be scored. model: the object of the model, which `run_id` names."""

    name: str
    run_id: str
    model: str
    dataset: DatasetDefinition

    @property
    def definition(self) -> GraphDefinition:
        """Of the graph."""
        return self.dataset.graph

    @property
    def times(self) -> range:
        """The moments."""
        return self.definition.snapshot_times(self.start_ms, self.end_ms)

    @property
    def seen(self) -> TimeRange:
        """The half-open range of the bars that count for any moment; no target is looked at."""
        return self.dataset.seen(self.times, targets=False)


def scores_of(name: str) -> str:
    """The collection of a model's scores."""
    return f"{name}_scores"


def first_key(time_ms: int) -> str:
    """The keys of the scores of this moment and later are not before it."""
    return f"{time_ms:013}"
