"""What is known of a graph."""

from __future__ import annotations

from typing import Any

import msgspec

KIND = "graph"


class KnownGraph(msgspec.Struct, frozen=True, kw_only=True):
    """A graph as it was last made. manifest: the name of the object; before: of the one that it replaced; empty: none
    is known. symbols: how many series it is of.

    start_ms, end_ms: the half-open range of its snapshots. made_ms: when it was found whole. definition: as JSON.
    """

    graph: str
    queue_id: str
    graph_id: str
    definition_id: str
    manifest: str
    before: str = ""
    type: str
    symbols: int
    start_ms: int
    end_ms: int
    snapshots: int
    edges: int
    made_ms: int
    definition: dict[str, Any] = {}

    @property
    def name(self) -> str:
        return self.graph
