"""How coins are associated, compared with numpy's and pandas' numbers."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from streamforge.analytics.graphs.associations import UNITS, ProductSums, associations
from tests.analytics.graphs.returns import definition, moves, units


@pytest.mark.parametrize("coins", [6, 64, 150])
@pytest.mark.parametrize("first", [0, 1, 23, 24])
def test_pearson_is_the_correlation_of_numpy(coins: int, first: int) -> None:
    returns = moves(coins, 100)
    found = associations(definition(window=100), returns, None, first)
    np.testing.assert_array_equal(found.weights, units(np.corrcoef(returns.T)))
    assert found.known is None


def test_pearson_of_coins_with_holes_is_that_of_the_returns_that_both_have() -> None:
    returns = moves()
    returns[3:7, 2] = np.nan
    returns[5:8, 4] = np.nan
    found = associations(definition(min_overlap=0.8), returns)
    for i, j in combinations(range(6), 2):
        both = np.isfinite(returns[:, i]) & np.isfinite(returns[:, j])
        assert found.weights[i, j] == round(UNITS * np.corrcoef(returns[both, i], returns[both, j])[0, 1])
    np.testing.assert_array_equal(found.weights, found.weights.T)
    scarce = associations(definition(min_overlap=0.9), returns)
    assert scarce.known is not None
    np.testing.assert_array_equal(scarce.known, scarce.known.T)
    assert not scarce.known[2, 4], "35 of 40 returns in common are too few for 0.9"
    assert scarce.weights[2, 4] == 0
    assert scarce.known[2, 0]
    assert not scarce.known.diagonal().any()


def test_a_return_that_is_far_above_its_noise_loses_no_digits() -> None:
    returns = moves(70)
    returns[:, 65] = 0.01 + 1e-7 * returns[:, 65]
    found = associations(definition(), returns)
    np.testing.assert_array_equal(found.weights, units(np.corrcoef(returns.T)))


def test_sums_that_windows_share_change_nothing() -> None:
    returns, sums = moves(8, 160), ProductSums()
    columns = np.arange(8)
    for first in range(100):
        seen = returns[first : first + 60]
        shared, alone = (associations(definition(window=60), seen, columns, first, one) for one in (sums, None))
        np.testing.assert_array_equal(shared.weights, alone.weights)
        others = associations(definition(window=60), -seen[:, ::-2], columns[::-2], first, sums)
        np.testing.assert_array_equal(others.weights, alone.weights[::-2, ::-2])


def test_spearman_is_the_correlation_of_ranks_with_the_mean_of_ties() -> None:
    pandas = pytest.importorskip("pandas")
    returns = np.round(moves(), 2)  # many ties
    expected = pandas.DataFrame(returns).corr("spearman").to_numpy(copy=True)
    np.testing.assert_array_equal(associations(definition(method="spearman"), returns).weights, units(expected))


def test_a_lag_leads_from_row_to_column() -> None:
    generator = np.random.default_rng(5)
    leader = generator.normal(size=43)
    follower = np.concatenate([generator.normal(size=3), leader[:-3]]) + 0.1 * generator.normal(size=43)
    made = definition(method="lead_lag", lag=3, threshold=0.5)
    found = associations(made, np.stack([follower, leader], axis=1)).weights
    assert found[1, 0] == round(UNITS * np.corrcoef(leader[:-3], follower[3:])[0, 1])
    assert found[1, 0] > 0.9 * UNITS
    assert abs(found[0, 1]) < 0.5 * UNITS


def test_a_partial_correlation_leaves_out_what_a_third_coin_explains() -> None:
    generator = np.random.default_rng(8)
    market = generator.normal(size=(4000, 1))
    returns = np.concatenate([market, market + generator.normal(size=(4000, 2))], axis=1)
    plain = associations(definition(window=4000), returns).weights / UNITS
    found = associations(definition(method="partial", window=4000), returns).weights / UNITS
    assert plain[1, 2] == pytest.approx(0.5, abs=0.05)
    assert found[1, 2] == pytest.approx(0, abs=0.05)
    assert found[0, 1] > 0.4
    np.testing.assert_array_equal(found, found.T)


def test_more_coins_than_returns_have_partial_correlations_too() -> None:
    found = associations(definition(method="partial"), moves(coins=90))
    assert found.known is not None
    assert found.known[~np.eye(90, dtype=bool)].all()
    assert 0 < np.abs(found.weights).max() < UNITS


@pytest.mark.parametrize("method", ["pearson", "spearman", "partial"])
def test_a_price_that_stands_still_has_no_association(method: str) -> None:
    returns = moves()
    returns[:, 3] = 0.1 + 0.2 - 0.3  # no number that the mean meets exactly
    found = associations(definition(method=method), returns)
    assert found.known is not None
    assert not found.known[3].any()
    assert not found.known[:, 3].any()
    assert not found.weights[3].any()
    assert found.known[0, 1]
