"""A snapshot: the graph of one moment, made of bars that were closed by then."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamforge.analytics.graphs.associations import Associations, ProductSums, associations
from streamforge.analytics.graphs.definition import GraphDefinition, Method
from streamforge.analytics.graphs.features import features_of
from streamforge.analytics.graphs.measures import CoinMeasures, coin_measures, tree_length, turnover
from streamforge.analytics.graphs.panel import Panel, Window
from streamforge.analytics.graphs.selection import Edges, edges_of
from streamforge.analytics.graphs.universe import taking_part


class Snapshot:
    """The graph of one moment.

    time_ms: all of it was known then. symbols: of the coins that take part, ascending; edges name their places.
    features: a row for each coin, by the definition's names. coins, tree_length (in millionths): None without measures;
    the latter also where no tree joins all coins that have an association, or edges have directions. turnover: against
    the snapshot a step before; None where both have no edge.
    """

    __slots__ = ("coins", "edges", "features", "symbols", "time_ms", "tree_length", "turnover")

    def __init__(
        self,
        time_ms: int,
        symbols: tuple[str, ...],
        features: NDArray[np.float32],
        edges: Edges,
        coins: CoinMeasures | None,
        tree_length: int | None,
        turnover: float | None,
    ) -> None:
        self.time_ms = time_ms
        self.symbols = symbols
        self.features = features
        self.edges = edges
        self.coins = coins
        self.tree_length = tree_length
        self.turnover = turnover

    def content(self) -> bytes:
        """All of it, as bytes: equal snapshots have equal ones."""
        head = [self.time_ms, self.symbols, self.features.shape[1], self.tree_length, self.turnover]
        parts: list[NDArray[Any]] = [self.features, *self.edges, *(self.coins or ())]
        return b"\n".join(
            [msgspec.json.encode(head), *(part.astype(part.dtype.newbyteorder("<")).tobytes() for part in parts)]
        )

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content()).hexdigest()


class SnapshotBuilder:
    """Makes the snapshots of one definition. It is given what a moment sees, and has no way to more."""

    def __init__(self, definition: GraphDefinition) -> None:
        self._definition = definition

    def snapshot(self, window: Window, before: Window) -> Snapshot:
        """The graph at the end of `window`. before: what the moment a step before saw."""
        return self._told(self._shape(window), self._shape(before).keys)

    def series(self, panel: Panel, times: Iterable[int]) -> Iterator[Snapshot]:
        """The snapshots of these moments, as `snapshot` makes them; of moments a step apart each is made once."""
        definition = self._definition
        last_ms: int | None = None
        keys = np.empty(0, dtype=np.int64)
        sums = ProductSums()
        for time_ms in times:
            if last_ms is None or time_ms - last_ms != definition.step_ms:
                keys = self._shape(panel.before(time_ms - definition.step_ms, definition.lookback)).keys
            shape = self._shape(panel.before(time_ms, definition.lookback), sums)
            yield self._told(shape, keys)
            last_ms, keys = time_ms, shape.keys

    def _shape(self, window: Window, sums: ProductSums | None = None) -> _Shape:
        definition = self._definition
        places = taking_part(definition, window)
        returns = window.returns[-definition.window - definition.lag :]
        if len(places) < returns.shape[1]:
            returns = returns[:, places]
        first = definition.bar_number(window.time_ms) - len(returns)
        found = associations(definition, returns, places, first, sums)
        edges = edges_of(definition, found.weights)
        keys = places[edges.sources] * len(window.symbols) + places[edges.targets]
        return _Shape(window, places, found, edges, keys)

    def _told(self, shape: _Shape, keys: NDArray[np.int64]) -> Snapshot:
        definition, places = self._definition, shape.places
        has_tree = definition.measures and definition.method is not Method.LEAD_LAG
        return Snapshot(
            shape.window.time_ms,
            tuple(shape.window.symbols[place] for place in places.tolist()),
            features_of(definition, shape.window, places),
            shape.edges,
            coin_measures(shape.edges, len(places)) if definition.measures else None,
            tree_length(*shape.associations) if has_tree else None,
            turnover(shape.keys, keys),
        )


class _Shape(msgspec.Struct, frozen=True):
    """keys: a number for each edge, the same in each snapshot of the same coins."""

    window: Window
    places: NDArray[np.intp]
    associations: Associations
    edges: Edges
    keys: NDArray[np.int64]
