"""The models of the ladder compared with plain computations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamforge.analytics.models.baselines import Ridge, baselines
from streamforge.analytics.models.dataset import Dataset
from streamforge.analytics.models.neighbour_mean import NeighbourMean, neighbour_means
from streamforge_utils.model.errors import InvalidInput
from tests.analytics.models.markets import dataset_of, definition, moves, panel_of


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return dataset_of(panel_of(moves(80, 10, 1)))


def test_naive_models_are_signed_features(dataset: Dataset) -> None:
    sample = dataset.samples[0]
    day, five, volatility, _ = sample.features.T
    expected = {"zero": 0 * day, "reversal": -day, "momentum": five, "low_volatility": -volatility}
    by_name = {one.name: one.make(0) for one in baselines(dataset.definition.graph)}
    for name, values in expected.items():
        by_name[name].fit(dataset.samples)
        np.testing.assert_array_equal(by_name[name].predict([sample])[0], values)
    with pytest.raises(InvalidInput, match="need return_6 and a volatility") as caught:
        baselines(definition(interval="4h").graph)
    assert caught.value.field == "features"


def test_ridge_is_least_squares_with_rows_for_the_penalty(dataset: Dataset) -> None:
    samples = [*dataset.samples[:20]]
    returns = samples[3].returns.copy()
    returns[2] = np.nan
    samples[3] = samples[3].with_returns(returns)
    rows = [(x, y) for one in samples for x, y in zip(one.features, one.target, strict=True) if np.isfinite(y)]
    assert len(rows) == 199
    features, target = np.array([x for x, _ in rows]), np.array([y for _, y in rows])
    penalty = 0.05
    added = np.sqrt(penalty * len(rows)) * np.eye(4)
    expected = np.linalg.lstsq(np.vstack([features, added]), np.concatenate([target, np.zeros(4)]), rcond=None)[0]
    model = Ridge(penalty)
    model.fit(samples)
    np.testing.assert_allclose(model.weights, expected, atol=1e-12)
    np.testing.assert_allclose(model.predict(samples[:1])[0], samples[0].features @ expected, atol=1e-12)


@pytest.mark.parametrize("make", [Ridge, NeighbourMean])
def test_what_a_linear_model_learnt_is_arrays_and_others_are_refused(make: type[Ridge], dataset: Dataset) -> None:
    model, other = make(), make()
    model.fit(dataset.samples[:20])
    state = model.state()
    other.restore(state)
    state["weights"][0] = 9
    assert other.predict(dataset.samples[20:21])[0].tobytes() == model.predict(dataset.samples[20:21])[0].tobytes()
    wrong: list[dict[str, Any]] = [{}, {"weights": np.zeros((2, 2))}, {"weights": np.zeros(4), "bias": np.zeros(1)}]
    for one in [*wrong, {"weights": np.array([np.nan])}, {"weights": np.array(["a"])}]:
        with pytest.raises(InvalidInput, match="linear model") as caught:
            other.restore(one)
        assert caught.value.field == "model"


@pytest.mark.parametrize("choice", [{"top_k": 3}, {"top_k": None, "mst": True}, {"top_k": None, "threshold": 0.5}])
def test_means_over_neighbours(choice: dict[str, Any]) -> None:
    sample = dataset_of(panel_of(moves(45, 10, 1)), definition(**choice)).samples[0]
    found = neighbour_means(sample)
    assert sample.directed == bool(choice["top_k"])
    lonely = 0
    for coin in range(10):
        edges = [*zip(sample.edges.sources, sample.edges.targets, strict=True)]
        others = [source for source, target in edges if target == coin]
        others += [] if sample.directed else [target for source, target in edges if source == coin]
        lonely += not others
        expected = sum((sample.features[one] for one in others), np.zeros(4)) / max(1, len(others))
        np.testing.assert_allclose(found[coin], expected, atol=1e-15)
    assert lonely == 0 or "threshold" in choice
    np.testing.assert_array_equal(NeighbourMean().inputs(sample), np.hstack([sample.features, found]))
