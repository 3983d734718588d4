"""Markets whose truth is known, and what the card of the attention network says of them."""

from __future__ import annotations

import pytest

from streamforge.analytics.models.baselines import baselines
from streamforge.analytics.models.boosted_trees import TreeSettings, boosted_trees
from streamforge.analytics.models.card import Card, EvaluationSettings
from streamforge.analytics.models.evaluation import evaluated
from streamforge.analytics.models.folds import FoldRules
from streamforge.analytics.models.neighbour_mean import on_graph
from streamforge.analytics.models.verdict import Outcome
from streamforge.analytics.networks.attention import AttentionSettings, attention
from tests.analytics.models.markets import dataset_of, moves, panel_of

NETWORK = AttentionSettings(epochs=20, batch=8, patience=5)


def card(days: int, coins: int, **market: float) -> Card:
    panel = panel_of(moves(days, coins, 1, **market))
    dataset = dataset_of(panel)
    contenders = [
        *baselines(dataset.definition.graph),
        boosted_trees(TreeSettings(trees=30, least=20)),
        *on_graph(attention(NETWORK), seeded=True, settings=NETWORK.text()),
    ]
    folds = FoldRules(test=(days - 40) // 2, least_train=(days - 40) // 3)
    return evaluated(dataset, panel, contenders, EvaluationSettings(folds=folds, top=5))[0]


def test_a_market_in_which_neighbours_tell_has_an_edge_of_the_graph() -> None:
    found = card(300, 20, group=1.0)
    assert found.verdict.reasons == []
    assert (found.verdict.outcome, found.verdict.signal, found.verdict.rival) == (Outcome.EDGE, True, "lightgbm")


@pytest.mark.parametrize(("own", "signal"), [(0.4, True), (0.0, False)])
def test_a_market_in_which_they_do_not_has_none(own: float, signal: bool) -> None:
    found = card(200, 15, own=own)
    assert (found.verdict.outcome, found.verdict.signal) == (Outcome.NO_EDGE, signal)
    assert [reason for reason in found.verdict.reasons if "no_edges" in reason]
