"""Samples compared with plain computations: what a trade earns, which coins are in, how features are ranked."""

from __future__ import annotations

import math

import numpy as np
import pytest

from streamforge.analytics.graphs.panel import Bars, Panel
from streamforge.analytics.models.dataset import centred_ranks, decision_times, make_dataset, ranked_features
from streamforge.analytics.models.targets import returns_after
from streamforge_utils.model.errors import InvalidInput
from tests.analytics.models.markets import DAY_MS, START_MS, dataset_of, definition, moves, panel_of

SIX_DAYS = START_MS + 6 * DAY_MS


def bars(days: range, missing: int | None = None, opens: bool = True) -> Bars:
    """Of day n the open is n + 10 and the close n + 10.5."""
    there = [day for day in days if day != missing]
    return Bars(
        [START_MS + day * DAY_MS for day in there],
        [day + 10.5 for day in there],
        [1.0] * len(there),
        [day + 10.0 for day in there] if opens else None,
    )


def panel(**coins: Bars) -> Panel:
    return Panel.of(coins, start_ms=START_MS, end_ms=START_MS + 10 * DAY_MS, bar_ms=DAY_MS)


def test_a_trade_goes_from_the_open_a_bar_later_to_the_open_a_horizon_later() -> None:
    made = panel(LASTS=bars(range(10)), ENDS=bars(range(5)), ENDS_AT_ONCE=bars(range(4)), HOLE=bars(range(10), 6))
    assert made.symbols == ("ENDS", "ENDS_AT_ONCE", "HOLE", "LASTS")
    found = returns_after(made, START_MS + 3 * DAY_MS, [0, 1, 2, 3], horizon=2)
    # Decided at the open of day 3: in at the open of day 4, out at that of day 6; else at the last close before it.
    np.testing.assert_allclose(found, [14.5 / 14 - 1, np.nan, 15.5 / 14 - 1, 16 / 14 - 1])
    assert returns_after(made, START_MS + 3 * DAY_MS, [3], horizon=2, delay=0) == pytest.approx([15 / 13 - 1])


def test_moments_have_all_they_look_back_to_and_their_target() -> None:
    made, there = definition(), panel_of(moves(60, 5, 1))
    times = decision_times(made, there)
    assert times[0] == START_MS + 41 * DAY_MS
    assert times[-1] == START_MS + 57 * DAY_MS, "in at the open of day 58, out at that of day 59, the last"
    with pytest.raises(InvalidInput, match="reach beyond the last one") as caught:
        make_dataset(made, there, [times[-1] + DAY_MS])
    assert caught.value.field == "range"


def test_features_are_ranks_among_the_coins_of_a_moment() -> None:
    returns = moves(60, 5, 1)
    made = definition(features=["return_1"])
    sample = dataset_of(panel_of(returns), made).samples[3]
    day = (sample.time_ms - START_MS) // DAY_MS
    order = np.argsort(np.argsort(returns[day - 1]))
    np.testing.assert_allclose(sample.features[:, 0], (order - 2) / 5)
    np.testing.assert_allclose(sample.returns, np.exp(returns[day + 1]) - 1)
    np.testing.assert_allclose(sample.target, (np.argsort(np.argsort(returns[day + 1])) - 2) / 5)


def test_ranks_share_ties_and_leave_out_what_is_not_there() -> None:
    values = np.array([3.0, 1.0, np.nan, 3.0, 2.0])
    np.testing.assert_allclose(centred_ranks(values), [0.25, -0.375, np.nan, 0.25, -0.125])
    np.testing.assert_array_equal(centred_ranks(np.empty(0)), [])
    two = ranked_features(np.array([[1.0, np.nan], [2.0, np.nan], [3.0, 5.0]]))
    np.testing.assert_allclose(two, [[-1 / 3, 0.0], [0.0, 0.0], [1 / 3, 0.0]])
    np.testing.assert_array_equal(centred_ranks(np.full(2, np.nan)), [np.nan, np.nan])


def test_a_coin_takes_part_while_it_is_traded_and_without_a_trade_it_has_no_target() -> None:
    made = definition(window=8, features=["return_1"])
    there = Panel.of(
        {"A": bars(range(20)), "B": bars(range(20)), "C": bars(range(15))},
        start_ms=START_MS,
        end_ms=START_MS + 20 * DAY_MS,
        bar_ms=DAY_MS,
    )
    samples = make_dataset(made, there, [START_MS + day * DAY_MS for day in (13, 14, 15, 16)]).samples
    assert [sample.symbols for sample in samples] == [("A", "B", "C")] * 3 + [("A", "B")]
    assert [bool(np.isfinite(sample.target[-1])) for sample in samples] == [True, False, False, True]
    assert samples[0].returns[2] == pytest.approx(24.5 / 24 - 1), "its last close"
    assert not np.isfinite(samples[0].blind().target).any()
    assert samples[0].blind().seen() == samples[0].seen()


def test_the_order_of_coins_is_irrelevant_and_a_changed_open_is_not() -> None:
    coins = {name: bars(range(60), missing) for name, missing in (("A", 50), ("B", None), ("C", 51))}

    def sha256(given: dict[str, Bars]) -> str:
        end_ms = START_MS + 60 * DAY_MS
        return dataset_of(Panel.of(given, start_ms=START_MS, end_ms=end_ms, bar_ms=DAY_MS)).sha256

    assert sha256(coins) == sha256(dict(reversed(coins.items())))
    opens = coins["B"].opens
    assert opens is not None
    opens[-1] *= 2
    assert sha256(coins) != sha256({**coins, "B": bars(range(60))})


def test_what_makes_no_samples_is_refused_by_name() -> None:
    there = panel(A=bars(range(10)))
    with pytest.raises(InvalidInput, match="no features"):
        make_dataset(definition(features=[]), there, [])
    with pytest.raises(InvalidInput, match="graph of 4h"):
        make_dataset(definition(interval="4h"), there, [])
    with pytest.raises(InvalidInput, match="no opens"):
        returns_after(panel(A=bars(range(10)), B=bars(range(10), opens=False)), SIX_DAYS, [0], 1)
    wrong = bars(range(10))
    assert wrong.opens is not None
    wrong.opens[4] = math.inf
    with pytest.raises(InvalidInput, match=f"A: the bar at {START_MS + 4 * DAY_MS} .* open that is no price"):
        panel(A=wrong)
