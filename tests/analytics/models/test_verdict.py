"""The rule of the verdict, case by case."""

from __future__ import annotations

import numpy as np
import pytest

from streamforge.analytics.models.card import SwitchScore
from streamforge.analytics.models.evaluation import self_tests
from streamforge.analytics.models.switchboard import Switch
from streamforge.analytics.models.verdict import Outcome, Standing, Verdict, verdict
from tests.analytics.models.markets import definition

SEEDS = (0, 1, 2, 3, 4)
MEANS = {
    "zero": 0.0,
    "reversal": 0.02,
    "momentum": -0.02,
    "low_volatility": 0.03,
    "ridge": 0.1,
    "lightgbm": 0.1,
    "no_edges": 0.1,
    "shuffled": 0.1,
    "graph": 0.15,
}


def ruled(
    seeds: tuple[int, ...] = SEEDS,
    failed: tuple[str, ...] = (),
    sharpe: dict[str, float] | None = None,
    weak_seed: int = -1,
    without: str = "",
    **means: float,
) -> Verdict:
    generator = np.random.default_rng(1)
    noise = 0.01 * generator.normal(size=400)
    standings = {}
    for name, mean in {**MEANS, **means}.items():
        own = seeds if name in ("graph", "shuffled") else seeds[:1]
        series = {
            seed: mean * (seed != weak_seed or name != "graph") + noise + 0.01 * generator.normal(size=400)
            for seed in own
        }
        standings[name] = Standing(series, (sharpe or {}).get(name, 1.0))
    standings.pop(without, None)
    return verdict(standings, seeds, 4, failed)


def test_an_edge_has_to_be_there_for_each_of_five_seeds() -> None:
    found = ruled()
    assert (found.outcome, found.signal, found.rival, found.reasons) == (Outcome.EDGE, True, "lightgbm", [])
    apart = [one for one in found.differences if (one.other, one.seed) == ("shuffled", 3)]
    assert len(found.differences) == 15
    assert apart[0].mean == pytest.approx(0.05, abs=0.002)
    assert apart[0].low < apart[0].mean < apart[0].high
    assert ruled(weak_seed=3).outcome is Outcome.NO_EDGE
    (reason,) = ruled(SEEDS[:4]).reasons
    assert reason == "4 seeds were run: 5 are needed"


def test_a_difference_that_may_be_chance_is_no_edge() -> None:
    found = ruled(graph=0.102)
    own = [one for one in found.differences if one.other != "lightgbm"]
    assert all(one.mean > 0 for one in own)
    assert min(one.low for one in own) <= 0
    assert found.outcome is Outcome.NO_EDGE
    assert "is not above 0" in found.reasons[0]


@pytest.mark.parametrize("other", ["no_edges", "shuffled"])
def test_an_edge_is_against_no_edges_and_against_shuffled_ones(other: str) -> None:
    found = ruled(no_edges=0.15) if other == "no_edges" else ruled(shuffled=0.15)
    assert found.outcome is Outcome.NO_EDGE
    assert f"rank-IC to {other} is not above 0" in found.reasons[0]
    assert len(found.reasons) == 1


def test_an_edge_is_no_worse_after_fees_than_lightgbm() -> None:
    assert ruled(sharpe={"ridge": 1.1}).outcome is Outcome.EDGE
    found = ruled(sharpe={"lightgbm": 1.1})
    assert (found.outcome, found.rival) == (Outcome.NO_EDGE, "lightgbm")
    assert found.reasons == ["after fees its Sharpe ratio is 1.00, that of lightgbm 1.10"]


def test_without_lightgbm_there_is_no_edge_and_the_reason_says_so() -> None:
    found = ruled(without="lightgbm")
    assert (found.outcome, found.signal, found.rival) == (Outcome.NO_EDGE, True, "ridge")
    (reason,) = found.reasons
    assert "LightGBM was not run" in reason
    assert len(ruled(sharpe={"ridge": 1.1}, without="lightgbm").reasons) == 2


def test_a_signal_is_above_all_naive_models() -> None:
    assert not ruled(low_volatility=0.15).signal
    assert not ruled(ridge=0.0, lightgbm=0.0, no_edges=0.0, graph=0.0, reversal=-0.1, low_volatility=-0.1).signal
    assert ruled(graph=0.0).signal, "of LightGBM"
    assert ruled(graph=0.0, without="lightgbm").signal, "of ridge"


def test_nothing_is_said_where_a_self_test_failed() -> None:
    found = ruled(failed=("self-test x",))
    assert (found.outcome, found.signal, found.reasons) == (Outcome.VOID, False, ["self-test x"])


def score(rank_ic: float, t: float | None, honest: float = 0.1) -> SwitchScore:
    return SwitchScore(switch="", model="ridge", honest=honest, rank_ic=rank_ic, t=t, sharpe_net=0)


RIGHT = {
    Switch.SHUFFLED_TARGET: score(0.001, -1.2),
    Switch.PLANTED_SIGNAL: score(0.2, 9),
    Switch.FEATURES_AHEAD: score(0.9, 99),
    Switch.CENTRED_FEATURE: score(0.4, 20),
    Switch.EARLY_FILL: score(0.9, 99),
}


def test_self_tests_fail_by_name() -> None:
    assert self_tests(RIGHT, definition()) == []
    assert self_tests({**RIGHT, Switch.SHUFFLED_TARGET: score(0, None)}, definition()) == []
    wrong = {
        Switch.SHUFFLED_TARGET: [score(0.05, 3.1), score(-0.05, -3.1)],
        Switch.PLANTED_SIGNAL: [score(0.2, 1.9), score(0.1, 9), score(0.2, None)],
        Switch.FEATURES_AHEAD: [score(0.5, 99)],
        Switch.CENTRED_FEATURE: [score(0.1, 20)],
        Switch.EARLY_FILL: [score(0.5, 99)],
    }
    for switch, scores in wrong.items():
        for one in scores:
            (reason,) = self_tests({**RIGHT, switch: one}, definition())
            assert reason.startswith(f"self-test {switch}: ")


def test_leaks_that_a_market_may_undo_are_not_judged() -> None:
    hidden = {**RIGHT, Switch.CENTRED_FEATURE: score(0.0, 0), Switch.EARLY_FILL: score(0.0, 0)}
    assert self_tests(hidden, definition(2)) == []
    (reason,) = self_tests(hidden, definition(features=["return_5", "volatility_10"]))
    assert reason.startswith("self-test centred_feature: ")
