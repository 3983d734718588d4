"""A snapshot as documents: a node for each coin, edges between nodes of one moment, and one for the snapshot itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import isfinite
from typing import Any

import msgspec
import numpy as np

from streamforge.analytics.graphs.definition import GraphDefinition
from streamforge.analytics.graphs.selection import UNITS
from streamforge.analytics.graphs.snapshot import Snapshot
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.kind import key_symbol
from streamforge_utils.ports.store import Document, Edge, Outcome, Store


class GraphDocuments:
    """The documents of one graph. graph: its name, with which the names of its collections begin. symbols: of all its
    inputs."""

    def __init__(self, graph: str, definition: GraphDefinition, symbols: Collection[str]) -> None:
        self.nodes, self.edges, self.snapshots = (f"{graph}_{what}" for what in ("nodes", "edges", "snapshots"))
        self._features = definition.features
        self._symbols = frozenset(symbols)

    async def holds(self, store: Store, hashes: Mapping[int, str]) -> bool:
        """Whether the snapshots of these moments are stored. hashes: the first digits of the SHA-256 of each."""
        if not hashes:
            return True
        first, last = snapshot_key(min(hashes)), snapshot_key(max(hashes) + 1)
        found = await store.read(self.snapshots, first=first, last=last, limit=10_000)
        told = {int(one.key): msgspec.json.decode(one.body, type=_Known).sha256 for one in found}
        return all(told.get(time_ms, "").startswith(start) for time_ms, start in hashes.items())

    async def keep(self, store: Store, snapshot: Snapshot, version: int) -> None:
        """Store a snapshot, and remove what another one of its moment has left; the snapshot's own document is last.

        One that is stored already is left as it is. version: when it was made, unix milliseconds. Raises what the store
        raises; done again it leaves the same.
        """
        key = snapshot_key(snapshot.time_ms)
        known = await store.read(self.snapshots, first=key, last=f"{key}~", limit=1)
        before = _Known() if not known else msgspec.json.decode(known[0].body, type=_Known)
        if before.sha256 == snapshot.sha256:
            return
        await store.delete_keys(self.snapshots, [key])
        # Another attempt, of other bars, may have ended before it stored its snapshot.
        keys = [node_key(symbol, snapshot.time_ms) for symbol in sorted({*self._symbols, *before.symbols})]
        await store.unlink(self.edges, [f"{self.nodes}/{one}" for one in keys])
        kept = {node_key(symbol, snapshot.time_ms) for symbol in snapshot.symbols}
        await store.delete_keys(self.nodes, [one for one in keys if one not in kept])
        await _stored(store, self.nodes, self._node_documents(snapshot, version))
        await store.link(self.edges, self._edges(snapshot))
        await _stored(store, self.snapshots, [_snapshot_document(snapshot, version)])

    def _node_documents(self, snapshot: Snapshot, version: int) -> list[Document]:
        found = []
        features = snapshot.features.astype(np.float64).tolist()
        measures = _measures(snapshot)
        for place, symbol in enumerate(snapshot.symbols):
            body: dict[str, Any] = {"symbol": symbol, "time": snapshot.time_ms}
            own = zip(self._features, features[place], strict=True)
            body |= {name: value if isfinite(value) else None for name, value in own}
            body |= {name: values[place] for name, values in measures.items()}
            found.append(Document(node_key(symbol, snapshot.time_ms), version, msgspec.json.encode(body)))
        return found

    def _edges(self, snapshot: Snapshot) -> list[Edge]:
        ids = [f"{self.nodes}/{node_key(symbol, snapshot.time_ms)}" for symbol in snapshot.symbols]
        ends = zip(*(column.tolist() for column in snapshot.edges), strict=True)
        return [
            Edge(
                ids[source], ids[target], b'{"time":%d,"weight":%s}' % (snapshot.time_ms, repr(weight / UNITS).encode())
            )
            for source, target, weight in ends
        ]


class _Known(msgspec.Struct):
    sha256: str = ""
    symbols: list[str] = []


def node_key(symbol: str, time_ms: int) -> str:
    """`BTCUSDT_1704067200000`."""
    return f"{key_symbol(symbol)}_{time_ms:013}"


def snapshot_key(time_ms: int) -> str:
    """The moment, with 13 digits: keys sort by it."""
    return f"{time_ms:013}"


async def _stored(store: Store, collection: str, documents: Sequence[Document]) -> None:
    for answer in await store.upsert(collection, documents):
        if answer.outcome is Outcome.REFUSED:
            raise PermanentError(f"a document of the graph cannot be stored in {collection}: {answer.reason}")


def _snapshot_document(snapshot: Snapshot, version: int) -> Document:
    body = {
        "time": snapshot.time_ms,
        "sha256": snapshot.sha256,
        "symbols": snapshot.symbols,
        "edges": len(snapshot.edges.sources),
        "tree_length": None if snapshot.tree_length is None else snapshot.tree_length / UNITS,
        "turnover": snapshot.turnover,
    }
    return Document(snapshot_key(snapshot.time_ms), version, msgspec.json.encode(body))


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
