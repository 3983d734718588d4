"""Datasets that are wrong on purpose: what a leak would bring, and whether the trainer can find or refuse a signal."""

from __future__ import annotations

from enum import StrEnum

import msgspec
import numpy as np

from streamforge.analytics.graphs.associations import associations
from streamforge.analytics.graphs.definition import GraphDefinition
from streamforge.analytics.graphs.features import features_of
from streamforge.analytics.graphs.panel import Floats, Panel
from streamforge.analytics.graphs.selection import edges_of
from streamforge.analytics.models.dataset import Dataset, Sample, centred_ranks, places_of, ranked_features
from streamforge.analytics.models.dataset_definition import DELAY
from streamforge.analytics.models.targets import returns_after

_PLANTED = 0.2


class Switch(StrEnum):
    """What is wrong with a dataset.

    future_graph: edges of the window that follows. features_ahead: as they are when the target ends. features_late: as
    they were a horizon earlier. centred_feature: one more, the return around the moment. early_fill: trades at the open
    of the last closed bar, which was before the decision. planted_signal: one more feature, whose correlation with the
    target is 0.2. shuffled_target: returns of other coins of the moment.
    """

    FUTURE_GRAPH = "future_graph"
    FEATURES_AHEAD = "features_ahead"
    CENTRED_FEATURE = "centred_feature"
    EARLY_FILL = "early_fill"
    PLANTED_SIGNAL = "planted_signal"
    SHUFFLED_TARGET = "shuffled_target"
    FEATURES_LATE = "features_late"


def switched(switch: Switch, dataset: Dataset, panel: Panel, seed: int) -> Dataset:
    """The dataset with this switch on. panel: the one it was made of."""
    definition = dataset.definition
    graph = definition.graph
    # The return over the horizon is among the features, so that those of the future have the target in them.
    names = tuple(dict.fromkeys((*dataset.names, f"return_{definition.horizon}")))

    def one(sample: Sample) -> Sample:
        places = places_of(panel, sample.symbols)
        generator = np.random.default_rng([seed, sample.time_ms])
        if switch is Switch.FUTURE_GRAPH:
            later = min(sample.time_ms + graph.window * graph.bar_ms, panel.end_ms)
            returns = panel.before(later, graph.lookback).returns[-graph.window - graph.lag :, places]
            return sample._replace(edges=edges_of(graph, associations(graph, returns).weights))
        if switch in (Switch.FEATURES_AHEAD, Switch.FEATURES_LATE):
            shift = definition.span_ms if switch is Switch.FEATURES_AHEAD else -definition.horizon_ms
            return sample._replace(features=_features(graph, names, panel, sample.time_ms + shift, places))
        if switch is Switch.CENTRED_FEATURE:
            # Half of it comes after the moment; of a short horizon enough to reach into the target.
            half = max(DELAY + 1, -(-definition.horizon // 2))
            later = sample.time_ms + half * graph.bar_ms
            centred = _features(graph, (f"return_{2 * half}",), panel, later, places)
            return sample._replace(features=np.concatenate([sample.features, centred], axis=1))
        if switch is Switch.EARLY_FILL:
            return sample.with_returns(returns_after(panel, sample.time_ms, places, definition.horizon, delay=-1))
        if switch is Switch.PLANTED_SIGNAL:
            # As wide as ranks but not in their steps, which would swallow a small signal where coins are few.
            noise = generator.uniform(-0.5, 0.5, len(places))
            planted = _PLANTED * np.nan_to_num(sample.target) + np.sqrt(1 - _PLANTED**2) * noise
            return sample._replace(features=np.column_stack([sample.features, centred_ranks(planted)]))
        returns = sample.returns.copy()
        known = np.flatnonzero(np.isfinite(returns))
        returns[known] = returns[generator.permutation(known)]
        return sample.with_returns(returns)

    return dataset._replace(samples=tuple(one(sample) for sample in dataset.samples))


def _features(graph: GraphDefinition, names: tuple[str, ...], panel: Panel, time_ms: int, places: list[int]) -> Floats:
    made = msgspec.structs.replace(graph, features=names)
    window = panel.before(time_ms, made.lookback)
    return ranked_features(features_of(made, window, places).astype(np.float64))
