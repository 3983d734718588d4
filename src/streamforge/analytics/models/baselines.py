"""The models that a model on a graph has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from streamforge.analytics.graphs.definition import GraphDefinition
from streamforge.analytics.graphs.panel import Floats
from streamforge.analytics.models.dataset import Sample
from streamforge.analytics.models.dataset_definition import baseline_features
from streamforge.analytics.models.model import Arrays, Contender, check_arrays

NAIVE = ("zero", "reversal", "momentum", "low_volatility")
PENALTY = 1e-3


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

    def state(self) -> Arrays:
        return {"weights": self.weights.copy()}

    def restore(self, state: Arrays) -> None:
        """Raises InvalidInput for arrays of another model."""
        check_arrays("linear model", state, {"weights": (state["weights"].size if "weights" in state else 1,)})
        self.weights = state["weights"].astype(np.float64)

    def inputs(self, sample: Sample) -> Floats:
        """A row for each coin, a column for each weight."""
        return sample.features


def baselines(graph: GraphDefinition, penalty: float = PENALTY) -> list[Contender]:
    """The ladder up to ridge. Raises InvalidInput where the graph lacks a feature that they need."""
    reversal, momentum, quiet = baseline_features(graph)
    return [
        Contender("zero", partial(_column, 0, 0)),
        Contender("reversal", partial(_column, reversal, -1)),
        Contender("momentum", partial(_column, momentum, 1)),
        Contender("low_volatility", partial(_column, quiet, -1)),
        Contender("ridge", partial(_ridge, penalty), settings=f"penalty {penalty}"),
    ]


def _column(column: int, sign: int, _: int) -> Column:
    return Column(column, sign)


def _ridge(penalty: float, _: int) -> Ridge:
    return Ridge(penalty)
