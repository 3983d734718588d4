"""The order for gnn-trainer: the data set, how models are compared, and what is proven of each input."""

from __future__ import annotations

import msgspec

from streamforge.analytics.graphs.definition import GraphDefinition
from streamforge.analytics.graphs.order import GraphOrder, Order
from streamforge.analytics.models.dataset_definition import DatasetDefinition
from streamforge.analytics.models.evaluation_settings import EvaluationSettings
from streamforge_utils.model.coverage import clip
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
    def graph(self) -> GraphOrder:
        """What graph-builder would be told to make the graph of these moments."""
        found = GraphOrder(
            graph=self.name,
            definition=self.definition,
            type=self.type,
            start_ms=self.start_ms,
            end_ms=self.dataset.decisions_end_ms(self.start_ms, self.end_ms),
            inputs={},
        )
        inputs = {symbol: clip(segments, found.seen) for symbol, segments in self.inputs.items()}
        return msgspec.structs.replace(found, inputs=inputs)

    @property
    def seen(self) -> TimeRange:
        """The half-open range of the bars that count for any moment or target."""
        return self.dataset.seen(self.times)
