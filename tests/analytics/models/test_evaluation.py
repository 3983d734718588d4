"""Markets whose truth is known, and what the card says of them."""

from __future__ import annotations

from functools import cache

import msgspec
import pytest

from streamforge.analytics.graphs.panel import Panel
from streamforge.analytics.models.baselines import Column, baselines
from streamforge.analytics.models.card import Card, EvaluationSettings, markdown
from streamforge.analytics.models.dataset import Dataset
from streamforge.analytics.models.evaluation import evaluated
from streamforge.analytics.models.folds import FoldRules
from streamforge.analytics.models.ladder import run_ladder
from streamforge.analytics.models.model import Contender
from streamforge.analytics.models.neighbour_mean import neighbour_means_on_graph
from streamforge.analytics.models.prediction_metrics import information_coefficients, t_statistic
from streamforge.analytics.models.switchboard import Switch, switched
from streamforge.analytics.models.verdict import NO_LIGHTGBM, Outcome
from streamforge_utils.model.errors import InvalidInput
from tests.analytics.models.markets import dataset_of, definition, moves, panel_of

SETTINGS = EvaluationSettings(folds=FoldRules(test=70, least_train=40), top=5)


def ladder(dataset: Dataset) -> list[Contender]:
    return [*baselines(dataset.definition.graph), *neighbour_means_on_graph()]


@cache
def card(group: float, own: float, *, stand_in: bool = False) -> Card:
    """stand_in: ridge is run in the place of LightGBM as well."""
    panel = panel_of(moves(200, 15, 1, group=group, own=own))
    dataset = dataset_of(panel)
    contenders = ladder(dataset)
    if stand_in:
        contenders += [one._replace(name="lightgbm") for one in contenders if one.name == "ridge"]
    return evaluated(dataset, panel, contenders, SETTINGS)[0]


def test_a_market_in_which_neighbours_tell_has_an_edge_of_the_graph() -> None:
    found = card(0.7, 0.0, stand_in=True)
    assert found.verdict.reasons == []
    assert (found.verdict.outcome, found.verdict.signal) == (Outcome.EDGE, True)
    scores = {one.model: one for one in found.scores}
    assert scores["graph"].rank_ic > 0.15
    assert abs(scores["ridge"].rank_ic) < 0.05
    assert scores["graph"].deflated > 0.95
    assert scores["graph"].accuracy_low > 0.5
    assert scores["graph"].precision > scores["graph"].base_rate + 0.05
    without = card(0.7, 0.0).verdict
    assert (without.outcome, without.signal) == (Outcome.NO_EDGE, True)
    assert without.reasons == [NO_LIGHTGBM]


def test_a_market_in_which_coins_tell_of_themselves_has_a_signal_and_no_edge() -> None:
    found = card(0.0, 0.4)
    assert (found.verdict.outcome, found.verdict.signal) == (Outcome.NO_EDGE, True)
    assert [reason for reason in found.verdict.reasons if "no_edges" in reason]
    assert next(one.rank_ic for one in found.scores if one.model == "ridge") > 0.2


def test_a_market_in_which_nothing_tells_has_neither() -> None:
    found = card(0.0, 0.0)
    assert (found.verdict.outcome, found.verdict.signal) == (Outcome.NO_EDGE, False)
    assert all(one.deflated < 0.9 for one in found.scores)


def test_the_card_is_data_and_a_page() -> None:
    found = card(0.7, 0.0)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Card) == found
    assert (found.trials, found.coins, len(found.scores)) == (9, (15, 15), 17)
    page = markdown(found)
    assert page.startswith("# No edge\n\nSignal: yes. Compared after fees with ridge; LightGBM was not run.\n")
    assert [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| ")][2:11] == [
        f"| {one.name}" for one in [*baselines(found.dataset.graph), *neighbour_means_on_graph()]
    ]
    assert all(f"| {switch} | " in page for switch in Switch)
    assert found.predictions_sha256 in page
    zero = next(line for line in page.splitlines() if line.startswith("| zero | "))
    assert zero.split(" | ")[3:6] == ["0.0000", "–", "–"]
    assert "–: the rank-IC is the same at all moments" in page


def test_a_trainer_that_cannot_find_what_is_there_voids_the_verdict() -> None:
    panel = panel_of(moves(120, 10, 1))
    dataset = dataset_of(panel)
    broken = [one._replace(make=lambda _: Column(0, 0)) if one.name == "ridge" else one for one in ladder(dataset)]
    found, _ = evaluated(
        dataset, panel, broken, msgspec.structs.replace(SETTINGS, folds=FoldRules(test=60, least_train=10))
    )
    assert found.verdict.outcome is Outcome.VOID
    assert [reason.split(":")[0] for reason in found.verdict.reasons] == [
        "self-test planted_signal",
        "self-test features_ahead",
        "self-test centred_feature",
        "self-test early_fill",
    ]
    assert markdown(found).startswith("# Void\n\nSignal: not told.")


def test_a_ladder_without_one_of_its_models_and_seeds_that_come_twice_are_refused() -> None:
    panel = panel_of(moves(60, 5, 1))
    dataset = dataset_of(panel)
    with pytest.raises(InvalidInput, match="missing: random") as caught:
        evaluated(dataset, panel, [one for one in ladder(dataset) if one.name != "random"], SETTINGS)
    assert caught.value.field == "models"
    with pytest.raises(InvalidInput, match="missing: none"):
        evaluated(dataset, panel, ladder(dataset) * 2, SETTINGS)
    with pytest.raises(InvalidInput, match="comes twice"):
        evaluated(dataset, panel, ladder(dataset), msgspec.structs.replace(SETTINGS, seeds=(1, 1)))


@cache
def noisy() -> tuple[Panel, Dataset]:
    """Targets of six bars that overlap; prices that are off, as between bid and ask; coins that tell of themselves."""
    panel = panel_of(moves(330, 15, 2, own=0.15), noise=0.03)
    return panel, dataset_of(panel, definition(6, step=2))


@cache
def rank_ic(switch: Switch | None) -> tuple[float, float]:
    """Of ridge, with its t."""
    panel, dataset = noisy()
    given = dataset if switch is None else switched(switch, dataset, panel, 0)
    run = run_ladder(given, [ladder(dataset)[4]], FoldRules(test=40, least_train=40), [0])
    found = information_coefficients(run.tested, run.predictions["ridge"][0], ranked=True)
    return float(found.mean()), t_statistic(found, 4) or 0.0


def test_each_switch_does_to_the_rank_ic_what_it_is_there_for() -> None:
    honest, _ = rank_ic(None)
    assert rank_ic(Switch.FEATURES_AHEAD)[0] > 0.5
    assert honest + 0.2 < rank_ic(Switch.CENTRED_FEATURE)[0] < rank_ic(Switch.FEATURES_AHEAD)[0]
    assert rank_ic(Switch.EARLY_FILL)[0] > honest + 0.05
    assert rank_ic(Switch.PLANTED_SIGNAL)[0] > honest + 0.05
    assert rank_ic(Switch.PLANTED_SIGNAL)[1] > 2
    assert abs(rank_ic(Switch.SHUFFLED_TARGET)[1]) < 2
    assert abs(rank_ic(Switch.FEATURES_LATE)[0]) < 0.1


def test_switches_change_what_they_name_and_nothing_else() -> None:
    panel, dataset = noisy()
    changed = {switch: switched(switch, dataset, panel, 0).samples[9] for switch in Switch}
    before = dataset.samples[9]
    seen = {Switch.EARLY_FILL, Switch.SHUFFLED_TARGET}
    for switch, sample in changed.items():
        assert (sample.seen() == before.seen()) == (switch in seen)
        assert (sample.returns == before.returns).all() == (switch not in seen)
        assert (sample.edges is before.edges) == (switch is not Switch.FUTURE_GRAPH)
    assert sorted(changed[Switch.SHUFFLED_TARGET].returns) == sorted(before.returns)
    assert changed[Switch.CENTRED_FEATURE].features.shape == changed[Switch.PLANTED_SIGNAL].features.shape == (15, 5)
