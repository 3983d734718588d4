"""Metrics compared with plain computations, pair by pair and term by term."""

from __future__ import annotations

import math
from statistics import NormalDist, fmean, stdev

import numpy as np
import pytest

from streamforge.analytics.graphs.panel import Floats
from streamforge.analytics.graphs.selection import Edges
from streamforge.analytics.models import prediction_metrics as metrics
from streamforge.analytics.models.dataset import Sample, centred_ranks
from streamforge.analytics.models.portfolio import Portfolio, deflated_sharpe
from tests.analytics.models.markets import DAY_MS, START_MS, definition

NO_EDGES = Edges(*(np.empty(0, dtype=np.int32) for _ in range(3)))


def sample(returns: list[float], at: int = 0, names: str = "ABCDEFGHIJKL") -> Sample:
    values = np.array(returns)
    zeros = np.zeros((len(values), 1))
    named = tuple(names[: len(values)])
    return Sample(START_MS + at * DAY_MS, named, zeros, NO_EDGES, False, values, centred_ranks(values))


def drawn(moments: int = 12, coins: int = 9, seed: int = 1) -> tuple[list[Sample], list[Floats]]:
    """Samples with ties, missing returns and predictions that know a little."""
    generator = np.random.default_rng(seed)
    samples, predictions = [], []
    for at in range(moments):
        returns = np.round(generator.normal(size=coins) * 0.02, 2)
        predictions.append(np.round(returns + 0.03 * generator.normal(size=coins), 2))
        returns[generator.random(coins) < 0.1] = np.nan
        samples.append(sample(returns.tolist(), at))
    return samples, predictions


def pairs(one: Sample, prediction: Floats) -> list[tuple[float, float]]:
    return [(p, r) for p, r in zip(prediction.tolist(), one.returns.tolist(), strict=True) if not math.isnan(r)]


def pearson(given: list[tuple[float, float]]) -> float:
    left, right = fmean(p for p, _ in given), fmean(r for _, r in given)
    both = sum((p - left) * (r - right) for p, r in given)
    return both / math.sqrt(sum((p - left) ** 2 for p, _ in given) * sum((r - right) ** 2 for _, r in given))


def rank(values: list[float]) -> list[float]:
    return [sum(other < one for other in values) + (sum(other == one for other in values) + 1) / 2 for one in values]


def test_coefficients_are_those_of_pearson_and_spearman() -> None:
    samples, predictions = drawn()
    known = [pairs(one, prediction) for one, prediction in zip(samples, predictions, strict=True)]
    found = metrics.information_coefficients(samples, predictions, ranked=False)
    np.testing.assert_allclose(found, [pearson(one) for one in known])
    ranked = [[*zip(rank([p for p, _ in one]), rank([r for _, r in one]), strict=True)] for one in known]
    found = metrics.information_coefficients(samples, predictions, ranked=True)
    np.testing.assert_allclose(found, [pearson(one) for one in ranked])
    assert metrics.information_ratio(found) == pytest.approx(fmean(found) / stdev(found))


def test_equal_predictions_have_no_correlation_and_equal_returns_do_not_count() -> None:
    samples = [sample([1, 2, 3]), sample([1, 1, 1]), sample([1, 2, math.nan]), sample([3, 2, 1])]
    found = metrics.information_coefficients(samples, [np.zeros(3)] * 3 + [np.arange(3.0)], ranked=True)
    np.testing.assert_allclose(found, [0, -1])


@pytest.mark.parametrize("lag", [0, 1, 4, 30])
def test_the_error_of_a_mean_is_that_of_newey_and_west(lag: int) -> None:
    values = np.cumsum(np.random.default_rng(2).normal(size=20)) + 1
    mean, count = fmean(values), 20
    total = sum((one - mean) ** 2 for one in values)
    for shift in range(1, min(lag, count - 1) + 1):
        weight = 1 - shift / (lag + 1)
        total += 2 * weight * sum((values[at] - mean) * (values[at - shift] - mean) for at in range(shift, count))
    assert metrics.mean_error(values, lag) == pytest.approx(math.sqrt(total / count / count))
    assert metrics.t_statistic(values, lag) == pytest.approx(mean / math.sqrt(total / count / count))
    still = np.full(9, 0.25)
    assert metrics.t_statistic(still, lag) is metrics.t_statistic(np.empty(0), lag) is metrics.information_ratio(still)
    assert metrics.t_statistic(still, lag) is None
    assert metrics.lags(100, 0) == 4
    assert metrics.lags(100, 23) == 23


def test_direction_counts_signs_and_its_interval_has_blocks_of_days() -> None:
    samples, predictions = drawn(300)
    known = [pairs(one, prediction) for one, prediction in zip(samples, predictions, strict=True)]
    flat = [pair for one in known for pair in one]
    found = metrics.Direction(samples, predictions, seed=1)
    assert found.share == fmean((p > 0) == (r > 0) for p, r in flat)
    assert found.up == fmean(r > 0 for _, r in flat)
    half = 1.96 * math.sqrt(found.share * (1 - found.share) / len(flat))
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.2), "coins are independent here"
    assert found.low < found.share < found.high
    again = metrics.Direction(samples, predictions, seed=1)
    assert (again.low, again.high) == (found.low, found.high)
    # What is the same all day counts once.
    hourly = [one._replace(time_ms=START_MS + at * DAY_MS // 24) for at, one in enumerate(samples * 24)]
    same = [hourly[at]._replace(returns=samples[at // 24].returns) for at in range(len(samples) * 24)]
    wide = metrics.Direction(same, [predictions[at // 24] for at in range(len(same))], seed=1)
    assert wide.share == pytest.approx(found.share)
    assert wide.high - wide.low == pytest.approx(found.high - found.low, rel=0.15)
    always = metrics.Direction(samples, [np.zeros(9)] * 300, seed=1)
    assert always.share == pytest.approx(1 - always.up)


def test_precision_is_the_share_of_the_best_that_were_predicted() -> None:
    samples = [sample([5, 4, 3, 2, 1]), sample([5, 4, math.nan, 2, 1])]
    found = metrics.precision_at(samples, [np.array([9.0, 0, 8, 0, 0]), np.array([1.0, 2, 3, 4, 5])], 2)
    assert found[0] == pytest.approx((0.5 + 0.0) / 2)
    assert found[1] == pytest.approx((2 / 5 + 2 / 4) / 2)
    # Of equal ones each has the same share of the places, so that no order of coins matters.
    tied = metrics.precision_at(samples[:1], [np.array([1.0, 0, 0, 0, 0])], 2)
    assert tied[0] == pytest.approx((1 + 1 / 4) / 2)
    nothing, base_rate = metrics.precision_at(drawn()[0], [np.zeros(9)] * 12, 3)
    assert nothing == pytest.approx(base_rate)
    assert metrics.precision_at([sample([1, 2])], [np.zeros(2)], 1) == (0.0, 0.0)


def positions(one: Sample, prediction: Floats) -> dict[str, float]:
    names = [name for name, back in zip(one.symbols, one.returns, strict=True) if not math.isnan(back)]
    ranks = rank([p for p, _ in pairs(one, prediction)])
    sizes = [value - fmean(ranks) for value in ranks]
    total = sum(abs(size) for size in sizes)
    return {name: size / total for name, size in zip(names, sizes, strict=True)}


@pytest.mark.parametrize(("horizon", "step", "apart", "kept"), [(1, 1, 1, True), (6, 2, 3, True), (1, 2, 1, False)])
def test_a_portfolio_pays_for_what_it_trades(horizon: int, step: int, apart: int, kept: bool) -> None:
    samples, predictions = drawn()
    samples[4] = samples[4]._replace(symbols=tuple("ABCDEFGHZ"))
    made = Portfolio(definition(horizon, step=step), samples, predictions, fee_bp=10)
    held = [positions(one, prediction) for one, prediction in zip(samples, predictions, strict=True)]
    for at, (one, own) in enumerate(zip(samples, held, strict=True)):
        back = dict(zip(one.symbols, one.returns.tolist(), strict=True))
        assert sum(map(abs, own.values())) == pytest.approx(1)
        assert made.gross[at] == pytest.approx(sum(size * back[name] for name, size in own.items()))
        before = held[at - apart] if at >= apart else {}
        traded = [(own.get(name, 0), before.get(name, 0)) for name in "ABCDEFGHIZ"]
        if kept:
            assert made.turnover[at] == pytest.approx(sum(abs(now - then) for now, then in traded))
        else:
            assert made.turnover[at] == pytest.approx(1 if at < apart else 2), "all is sold before it is bought"
        assert made.net[at] == pytest.approx(made.gross[at] - 0.001 * made.turnover[at])
    year = math.sqrt(365 / (apart * step))
    series = [made.net[first::apart].tolist() for first in range(apart)]
    assert made.sharpe(net=True) == pytest.approx(fmean(fmean(one) / stdev(one) for one in series) * year)
    nothing = Portfolio(definition(horizon, step=step), samples, [np.ones(9)] * 12, fee_bp=10)
    assert (nothing.sharpe(net=False), nothing.turnover.sum(), nothing.deflated(5)) == (0, 0, 0)


def test_a_deflated_ratio_is_told_from_the_best_of_as_many_without_skill() -> None:
    generator = np.random.default_rng(4)
    returns = 0.1 + generator.normal(size=250)
    ratio, count = fmean(returns) / stdev(returns), 250
    # One trial: about the probability that the mean is above 0.
    assert deflated_sharpe(returns, 1) == pytest.approx(NormalDist().cdf(ratio * math.sqrt(count)), abs=0.01)
    # More: against the mean of the largest ratio of as many series without skill.
    ratios = generator.normal(size=(4000, 20, 1)).max(axis=1) / math.sqrt(count)
    scaled = (ratio - float(ratios.mean())) * math.sqrt(count)
    assert deflated_sharpe(returns, 20) == pytest.approx(NormalDist().cdf(scaled), abs=0.02)
    assert deflated_sharpe(returns, 1) > deflated_sharpe(returns, 5) > deflated_sharpe(returns, 50)
    # Losses that are rare and large make a ratio less certain.
    skewed = np.concatenate([np.full(240, 0.2), np.full(10, -2.0)])
    even = np.concatenate([np.full(125, 1.0), np.full(125, -1.0)]) * skewed.std() + skewed.mean()
    assert deflated_sharpe(skewed, 1) < deflated_sharpe(even, 1)
    assert deflated_sharpe(np.zeros(9), 3) == deflated_sharpe(np.ones(2), 3) == 0
