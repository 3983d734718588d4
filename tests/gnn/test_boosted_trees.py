"""LightGBM as a model of the ladder."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from streamforge.analytics.models.boosted_trees import BoostedTrees, TreeSettings, boosted_trees
from streamforge.analytics.models.dataset import Dataset
from streamforge.analytics.models.folds import FoldRules
from streamforge.analytics.models.ladder import run_ladder
from streamforge.analytics.models.prediction_metrics import information_coefficients
from streamforge_utils.model.errors import ConfigError, InvalidInput
from tests.analytics.models.markets import dataset_of, moves, panel_of

SETTINGS = TreeSettings(trees=40, least=20)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return dataset_of(panel_of(moves(200, 15, 1, own=0.4)))


def test_it_finds_what_coins_tell_of_themselves_and_is_the_same_each_time(dataset: Dataset) -> None:
    def run(seeds: list[int]) -> tuple[str, float]:
        found = run_ladder(dataset, [boosted_trees(SETTINGS)], FoldRules(test=70, least_train=40), seeds)
        predictions = found.predictions["lightgbm"][seeds[0]]
        return found.sha256, float(information_coefficients(found.tested, predictions, ranked=True).mean())

    first, rank_ic = run([0])
    assert rank_ic > 0.2
    assert run([0])[0] == first
    assert run([1])[0] != first


def test_what_it_learnt_goes_through_arrays_and_others_are_refused(dataset: Dataset) -> None:
    model, other = BoostedTrees(SETTINGS, 0), BoostedTrees(SETTINGS, 1)
    returns = dataset.samples[0].returns.copy()
    returns[3] = np.nan
    model.fit([dataset.samples[0].with_returns(returns), *dataset.samples[1:60]])
    with pytest.raises(ValueError, match="not trained yet"):
        other.predict(dataset.samples[:1])
    other.restore(model.state())
    pairs = zip(model.predict(dataset.samples[60:]), other.predict(dataset.samples[60:]), strict=True)
    assert all(one.tobytes() == two.tobytes() for one, two in pairs)
    with pytest.raises(InvalidInput, match="weights are of no LightGBM"):
        other.restore({"weights": np.zeros(3)})
    with pytest.raises(InvalidInput, match="cannot be read"):
        other.restore({"trees": np.frombuffer(b"tree of another kind", dtype=np.uint8)})


def test_it_can_be_ended_between_two_trees(dataset: Dataset) -> None:
    grown = list[int]()

    def count() -> None:
        grown.append(1)
        if len(grown) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        boosted_trees(SETTINGS, count).make(0).fit(dataset.samples[:60])
    assert len(grown) == 3


def test_without_lightgbm_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(ConfigError, match=r"streamforge-market-data\[gnn\]"):
        boosted_trees()
