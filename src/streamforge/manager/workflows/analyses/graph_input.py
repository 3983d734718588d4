"""What a workflow remembers of the graph that it makes."""

from __future__ import annotations

import msgspec

from streamforge.analytics.graphs.definition import GraphDefinition
from streamforge.analytics.graphs.order import GraphOrder
from streamforge.manager.failure_codes import FailureCode
from streamforge_utils.model.timeranges import TimeRange

TARGET = "graph-builder"
TYPE = "gnn_graph"


class GraphInput(msgspec.Struct, frozen=True, kw_only=True, tag_field="makes", tag="graph"):
    """The graph that a workflow makes, and of what; the workflow's span is that of its snapshots.

    type, symbols: of the series that it is made of. batch: the one by which they are loaded; empty: none is known.
    graph_id, edges: of what was made and found whole.
    """

    graph: str
    definition: GraphDefinition
    type: str
    symbols: tuple[str, ...]
    batch: str = ""
    graph_id: str = ""
    edges: int = 0

    @property
    def name(self) -> str:
        return self.graph

    @property
    def incomplete(self) -> FailureCode:
        """The code of a failure: something of it is gone."""
        return FailureCode.GRAPH_INCOMPLETE

    def order(self, span: TimeRange) -> GraphOrder:
        """What graph-builder is told, but for the inputs. span: of the workflow."""
        return GraphOrder(
            graph=self.graph,
            definition=self.definition,
            type=self.type,
            start_ms=span.start_ms,
            end_ms=span.end_ms,
            inputs={},
        )
