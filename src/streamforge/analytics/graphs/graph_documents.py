"""A snapshot as documents: a node for each coin, edges between nodes of one moment, and one for the snapshot itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from streamforge.analytics.graphs.definition import GraphDefinition
from streamforge.analytics.graphs.selection import UNITS
from streamforge.analytics.graphs.snapshot import Snapshot
from streamforge_utils.ports.store import Document, Edge


class GraphCollections(msgspec.Struct, frozen=True):
    """Where a graph lies in the store. name: the graph's."""

    name: str

    @property
    def nodes(self) -> str:
        return f"{self.name}_nodes"

    @property
    def edges(self) -> str:
        return f"{self.name}_edges"

    @property
    def snapshots(self) -> str:
        return f"{self.name}_snapshots"


def node_key(symbol: str, time_ms: int) -> str:
    """`BTCUSDT_1704067200000`."""
    return f"{symbol}_{time_ms}"


def snapshot_key(time_ms: int) -> str:
    """The moment: keys sort by it, as all have 13 digits."""
    return str(time_ms)


def snapshot_document(snapshot: Snapshot, version: int) -> Document:
    """What is told of the whole snapshot. version: when it was made, unix milliseconds."""
    body = {
        "time": snapshot.time_ms,
        "sha256": snapshot.sha256,
        "coins": len(snapshot.symbols),
        "edges": len(snapshot.edges.sources),
        "tree_length": None if snapshot.tree_length is None else snapshot.tree_length / UNITS,
        "turnover": snapshot.turnover,
    }
    return Document(snapshot_key(snapshot.time_ms), version, msgspec.json.encode(body))


def node_documents(definition: GraphDefinition, snapshot: Snapshot, version: int) -> list[Document]:
    """The coins of a snapshot, with their features and measures; what is not known is null."""
    found = []
    features = snapshot.features.astype(np.float64).tolist()
    measures = _measures(snapshot)
    for place, symbol in enumerate(snapshot.symbols):
        body: dict[str, Any] = {"symbol": symbol, "time": snapshot.time_ms}
        own = zip(definition.features, features[place], strict=True)
        body |= {name: None if value != value else value for name, value in own}
        body |= {name: values[place] for name, values in measures.items()}
        found.append(Document(node_key(symbol, snapshot.time_ms), version, msgspec.json.encode(body)))
    return found


def edge_documents(snapshot: Snapshot, nodes: str) -> list[Edge]:
    """The edges of a snapshot. nodes: the collection of its nodes."""
    keys = [f"{nodes}/{node_key(symbol, snapshot.time_ms)}" for symbol in snapshot.symbols]
    ends = zip(*(column.tolist() for column in snapshot.edges), strict=True)
    return [
        Edge(
            source=keys[source],
            destination=keys[target],
            body=msgspec.json.encode({"time": snapshot.time_ms, "weight": weight / UNITS}),
        )
        for source, target, weight in ends
    ]


def _measures(snapshot: Snapshot) -> Mapping[str, list[float]]:
    coins = snapshot.coins
    if coins is None:
        return {}
    return {
        "degree": coins.degree.tolist(),
        "strength": (coins.strength / UNITS).tolist(),
        "clustering": coins.clustering.astype(np.float64).tolist(),
        "pagerank": coins.pagerank.astype(np.float64).tolist(),
    }
