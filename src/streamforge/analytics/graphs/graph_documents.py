"""A snapshot as documents: a node for each coin, edges between nodes of one moment, and one for the snapshot itself."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from itertools import chain, islice, repeat
from math import isfinite
from operator import attrgetter
from typing import TypeVar

import msgspec
import numpy as np

from streamforge.analytics.graphs.associations import UNITS
from streamforge.analytics.graphs.definition import GraphDefinition
from streamforge.analytics.graphs.measures import CoinMeasures
from streamforge.analytics.graphs.order import node_key
from streamforge.analytics.graphs.snapshot import Snapshot
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.ports.store import Document, Edge, Outcome, Store

T = TypeVar("T")
_AT_ONCE = 4_000
_EDGES_AT_ONCE = 20_000
"""They are all in memory, and the more there are of a node the less a store works for each."""


class GraphDocuments:
    """The documents of one graph. graph: its name, with which the names of its collections begin. symbols: of all its
    inputs."""

    def __init__(self, graph: str, definition: GraphDefinition, symbols: Collection[str]) -> None:
        self.nodes, self.edges, self.snapshots = (f"{graph}_{what}" for what in ("nodes", "edges", "snapshots"))
        measures = CoinMeasures._fields if definition.measures else ()
        self._node = msgspec.defstruct("Node", ["symbol", "time", *definition.features, *measures], gc=False)
        self._symbols = frozenset(symbols)

    async def holds(self, store: Store, hashes: Mapping[int, str], wanted: Collection[int]) -> bool:
        """Whether the snapshots of the moments in `wanted` are stored, and all that are stored are as they should be.

        hashes: of each moment the first digits of the SHA-256.
        """
        if not hashes:
            return True
        first, last = snapshot_key(min(hashes)), snapshot_key(max(hashes) + 1)
        found = await store.read(self.snapshots, first=first, last=last, limit=10_000)
        told = {int(one.key): msgspec.json.decode(one.body, type=_Known).sha256 for one in found}
        return all(told.get(one, "").startswith(hashes[one]) for one in {*wanted, *(told.keys() & hashes.keys())})

    async def stored(self, store: Store, times: Sequence[int]) -> Set[int]:
        """Of which of these moments, ascending, a snapshot is stored."""
        if not times:
            return set()
        first, last = snapshot_key(times[0]), snapshot_key(times[-1] + 1)
        return {*map(int, await store.keys(self.snapshots, first=first, last=last))}

    async def keep(self, store: Store, snapshots: Sequence[Snapshot], version: int) -> None:
        """Store snapshots, and remove what others of their moments have left; their own documents are last.

        What is stored already is left as it is. version: when they were made, unix milliseconds. Raises what the store
        raises; done again it leaves the same. Many at once cost a store much less than one after the other.
        """
        by_key = {snapshot_key(one.time_ms): one for one in snapshots}
        found = await store.fetch(self.snapshots, [*by_key, *map(_mark_key, by_key)])
        known = {one.key: msgspec.json.decode(one.body, type=_Known) for one in found}
        marks = [key for key in map(_mark_key, by_key) if key in known]
        fresh = {key: one for key, one in by_key.items() if key not in known or known[key].sha256 != one.sha256}
        if not fresh:
            await store.delete_keys(self.snapshots, marks)
            return
        # Another attempt, of other bars, may have ended before it stored its snapshot.
        left = {
            symbol for key in fresh for one in (key, _mark_key(key)) if one in known for symbol in known[one].symbols
        }
        symbols = self._symbols | left
        if left:
            # Else nobody knew of whom nodes are left, were this one to end before it has removed them.
            newest = max(version, *(1 + one.version for one in found))
            body = msgspec.json.encode(_Known(symbols=sorted(left)))
            await _stored(store, self.snapshots, [Document(_mark_key(key), newest, body) for key in fresh])
            marks = sorted({*marks, *map(_mark_key, fresh)})
        await store.delete_keys(self.snapshots, [*fresh])
        keys = [node_key(symbol, one.time_ms) for symbol in sorted(symbols) for one in fresh.values()]
        kept = {node_key(symbol, one.time_ms) for one in fresh.values() for symbol in one.symbols}
        for some in _parts(keys):
            await store.unlink(self.edges, [f"{self.nodes}/{one}" for one in some])
            await store.delete_keys(self.nodes, [one for one in some if one not in kept])
        nodes = [node for one in fresh.values() for node in self._node_documents(one, version)]
        nodes.sort(key=attrgetter("key"))  # as a store's index has them: it writes each of its pages once
        for documents in _parts(nodes):
            await _stored(store, self.nodes, documents)
        edges = chain.from_iterable(map(self._edges, fresh.values()))
        while some_edges := list(islice(edges, _EDGES_AT_ONCE)):
            await store.link(self.edges, some_edges)
        await _stored(store, self.snapshots, [_snapshot_document(one, version) for one in fresh.values()])
        await store.delete_keys(self.snapshots, marks)

    def _node_documents(self, snapshot: Snapshot, version: int) -> list[Document]:
        features = [[value if isfinite(value) else None for value in column.tolist()] for column in snapshot.features.T]
        nodes = map(self._node, snapshot.symbols, repeat(snapshot.time_ms), *features, *_measures(snapshot))
        keys = [node_key(symbol, snapshot.time_ms) for symbol in snapshot.symbols]
        return [*map(Document, keys, repeat(version), map(msgspec.json.Encoder().encode, nodes))]

    def _edges(self, snapshot: Snapshot) -> Iterator[Edge]:
        ids = [f"{self.nodes}/{node_key(symbol, snapshot.time_ms)}" for symbol in snapshot.symbols]
        sources, targets, weights = (column.tolist() for column in snapshot.edges)
        if not weights:
            return iter(())
        # All bodies as one text, which is cut: a call for each edge takes longer.
        head = b'{"time":%d,"weight":' % snapshot.time_ms
        texts = msgspec.json.encode([weight / UNITS for weight in weights])[1:-1].replace(b",", b"}\n" + head)
        bodies = (head + texts + b"}").split(b"\n")
        at = ids.__getitem__
        return map(Edge, map(at, sources), map(at, targets), bodies)


class _Known(msgspec.Struct):
    sha256: str = ""
    symbols: list[str] = []


def snapshot_key(time_ms: int) -> str:
    """The moment, with 13 digits: keys sort by it."""
    return f"{time_ms:013}"


def _mark_key(key: str) -> str:
    """Of the document that names the coins of a moment which is made again; behind those of all moments."""
    return f"again-{key}"


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """As many at a time as a store takes in one call."""
    return (items[first : first + _AT_ONCE] for first in range(0, len(items), _AT_ONCE))


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


def _measures(snapshot: Snapshot) -> Sequence[list[float]]:
    coins = snapshot.coins
    if coins is None:
        return ()
    rest = (column.astype(np.float64).tolist() for column in (coins.clustering, coins.pagerank))
    return coins.degree.tolist(), (coins.strength / UNITS).tolist(), *rest
