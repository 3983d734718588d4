"""Samples for models: of each moment the coins, their features, the graph, and what came after."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from streamforge.analytics.graphs.associations import ranks
from streamforge.analytics.graphs.definition import GraphDefinition, Method
from streamforge.analytics.graphs.panel import Floats, Panel
from streamforge.analytics.graphs.selection import Edges
from streamforge.analytics.graphs.snapshot import Snapshot, SnapshotBuilder
from streamforge.analytics.models.dataset_definition import DatasetDefinition as DatasetDefinition
from streamforge.analytics.models.targets import returns_after
from streamforge_utils.model.errors import InvalidInput


class Sample(NamedTuple):
    """The coins of one moment.

    symbols: ascending. features: a row for each coin, a column for each feature; centred ranks among the coins. edges
    name places of coins; `directed`: of each pair from the source to the target only. returns: what a trade earned;
    target: their centred ranks; both NaN where a coin could not be entered, and in what a model is asked to predict.
    """

    time_ms: int
    symbols: tuple[str, ...]
    features: Floats
    edges: Edges
    directed: bool
    returns: Floats
    target: Floats

    def with_returns(self, returns: Floats) -> Sample:
        return self._replace(returns=returns, target=centred_ranks(returns))

    def blind(self) -> Sample:
        """Without what came after."""
        unknown = np.full(len(self.symbols), np.nan)
        return self._replace(returns=unknown, target=unknown)

    def seen(self) -> bytes:
        """What a model sees of it, as bytes."""
        head = msgspec.json.encode([self.time_ms, self.symbols, self.features.shape[1], self.directed])
        edges = (part.astype("<i4").tobytes() for part in self.edges)
        return b"\n".join([head, self.features.astype("<f8").tobytes(), *edges])


class Dataset(NamedTuple):
    """Samples, ascending by time. names: of the features."""

    definition: DatasetDefinition
    names: tuple[str, ...]
    samples: tuple[Sample, ...]

    @property
    def sha256(self) -> str:
        """Of all that is in it."""
        found = hashlib.sha256(msgspec.json.encode([self.definition, self.names], order="sorted"))
        for sample in self.samples:
            found.update(sample.seen() + sample.returns.astype("<f8").tobytes())
        return found.hexdigest()


def decision_times(definition: DatasetDefinition, panel: Panel) -> range:
    """The moments that have all bars they look back to in the panel, and those of their target."""
    graph = definition.graph
    return definition.decision_times(panel.start_ms + graph.lookback * graph.bar_ms, panel.end_ms)


def make_dataset(definition: DatasetDefinition, panel: Panel, times: Iterable[int]) -> Dataset:
    """Samples of these moments, which ascend.

    Raises InvalidInput for a graph without features, bars of another length, a panel that ends before a target does,
    and bars without opens.
    """
    graph = definition.graph
    if not graph.features:
        raise InvalidInput("features", "the graph has no features to predict from: define some, such as return_24")
    if panel.bar_ms != graph.bar_ms:
        raise InvalidInput("interval", f"bars of {panel.bar_ms} ms do not fit a graph of {graph.interval}: read others")
    shapes = SnapshotBuilder(msgspec.structs.replace(graph, measures=False))
    samples = [_sample(definition, panel, shot) for shot in shapes.series(panel, times)]
    return Dataset(definition, graph.features, tuple(samples))


def unlabelled(definition: DatasetDefinition, panel: Panel, times: Iterable[int]) -> list[Sample]:
    """Samples of these moments as a model sees them where it is not known what comes after."""
    shapes = SnapshotBuilder(msgspec.structs.replace(definition.graph, measures=False))
    return [_unlabelled(definition, shot) for shot in shapes.series(panel, times)]


def is_directed(graph: GraphDefinition) -> bool:
    """Whether an edge tells something of its target alone."""
    return graph.method is Method.LEAD_LAG or graph.top_k is not None


def centred_ranks(values: Floats) -> Floats:
    """Ranks among the numbers of each column, above -0.5 and below 0.5, with mean 0; NaN stays. Ties share theirs."""
    columns = values[:, None] if values.ndim == 1 else values
    count = np.maximum(1, np.isfinite(columns).sum(axis=0))
    return np.asarray((ranks(columns) - (count + 1) / 2) / count).reshape(values.shape)


def ranked_features(features: Floats) -> Floats:
    """Centred ranks; what a coin has none of is in the middle."""
    return np.nan_to_num(centred_ranks(features), nan=0.0)


def places_of(panel: Panel, symbols: Sequence[str]) -> list[int]:
    """Where these coins are in the panel, which is ascending like them."""
    return [bisect_left(panel.symbols, one) for one in symbols]


def _sample(definition: DatasetDefinition, panel: Panel, shot: Snapshot) -> Sample:
    returns = returns_after(panel, shot.time_ms, places_of(panel, shot.symbols), definition.horizon)
    return _unlabelled(definition, shot).with_returns(returns)


def _unlabelled(definition: DatasetDefinition, shot: Snapshot) -> Sample:
    unknown = np.full(len(shot.symbols), np.nan)
    features = ranked_features(shot.features.astype(np.float64))
    directed = is_directed(definition.graph)
    return Sample(shot.time_ms, shot.symbols, features, shot.edges, directed, unknown, unknown)
