"""The models that a model on a graph has to beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streamforge.analytics.graphs.definition import GraphDefinition, Measure
from streamforge.analytics.graphs.panel import Floats
from streamforge.analytics.models.dataset import Sample
from streamforge.analytics.models.model import Contender
from streamforge_utils.model.errors import InvalidInput

NAIVE = ("zero", "reversal", "momentum", "low_volatility")
PENALTY = 1e-3
_DAY_MS = 86_400_000


class Column:
    """Predicts one feature, times `sign`; of sign 0 the same for all coins. Learns nothing."""

    def __init__(self, column: int, sign: int) -> None:
        self._column = column
        self._sign = sign

    def fit(self, train: Sequence[Sample]) -> None:
        pass

    def predict(self, test: Sequence[Sample]) -> list[Floats]:
        return [self._sign * sample.features[:, self._column] for sample in test]


class Ridge:
    """Linear regression of the target with a penalty on squared weights, in closed form.

    Features and targets have mean 0 in each moment, so there is no intercept. penalty: against the mean square of a
    feature, which is 1/12.
    """

    def __init__(self, penalty: float = PENALTY) -> None:
        self._penalty = penalty
        self.weights: Floats = np.empty(0)

    def fit(self, train: Sequence[Sample]) -> None:
        known = [np.isfinite(sample.target) for sample in train]
        inputs = np.concatenate([self.inputs(sample)[rows] for sample, rows in zip(train, known, strict=True)])
        target = np.concatenate([sample.target[rows] for sample, rows in zip(train, known, strict=True)])
        count = max(1, len(target))
        square = inputs.T @ inputs / count + self._penalty * np.eye(inputs.shape[1])
        self.weights = np.linalg.solve(square, inputs.T @ target / count)

    def predict(self, test: Sequence[Sample]) -> list[Floats]:
        return [self.inputs(sample) @ self.weights for sample in test]

    def inputs(self, sample: Sample) -> Floats:
        """A row for each coin, a column for each weight."""
        return sample.features


def baselines(graph: GraphDefinition, penalty: float = PENALTY) -> list[Contender]:
    """The ladder up to ridge. The names of the features say which are a day's return, the longest return and the
    longest volatility. Raises InvalidInput where one is missing."""
    day = max(1, _DAY_MS // graph.bar_ms)
    found = {measure: dict[int, int]() for measure in Measure}
    for column, feature in enumerate(graph.read_features()):
        found[feature.measure][feature.bars] = column
    returns, volatilities = found[Measure.RETURN], found[Measure.VOLATILITY]
    if day not in returns or not volatilities:
        raise InvalidInput("features", f"the baselines need return_{day} and a volatility: add them to the graph")
    reversal, momentum, quiet = returns[day], returns[max(returns)], volatilities[max(volatilities)]
    return [
        Contender("zero", lambda _: Column(0, 0)),
        Contender("reversal", lambda _: Column(reversal, -1)),
        Contender("momentum", lambda _: Column(momentum, 1)),
        Contender("low_volatility", lambda _: Column(quiet, -1)),
        Contender("ridge", lambda _: Ridge(penalty), settings=f"penalty {penalty}"),
    ]
