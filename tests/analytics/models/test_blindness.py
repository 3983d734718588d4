"""No sample shows a bar that closes later, and datasets that do are caught."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from streamforge.analytics.graphs.panel import Panel
from streamforge.analytics.models.dataset import Dataset, DatasetDefinition, Sample, make_dataset, places_of
from streamforge.analytics.models.dataset_definition import DELAY
from streamforge.analytics.models.switchboard import Switch, switched
from tests.analytics.models.blindness import Make, check, check_target


@pytest.mark.parametrize("hundred", range(3))
def test_what_closes_after_a_moment_leaves_its_sample_as_it_is_byte_for_byte(hundred: int) -> None:
    coins = sum(check(case) for case in range(100 * hundred, 100 * hundred + 100))
    assert coins > 200, "the cases have coins"


@pytest.mark.parametrize(
    "switch",
    [Switch.FUTURE_GRAPH, Switch.FEATURES_AHEAD, Switch.CENTRED_FEATURE],
)
def test_a_dataset_that_shows_the_future_is_caught(switch: Switch) -> None:
    def cheating(definition: DatasetDefinition, panel: Panel, times: list[int]) -> Dataset:
        return switched(switch, make_dataset(definition, panel, times), panel, 0)

    caught = 0
    for case in range(30):
        try:
            check(case, cheating)
        except AssertionError:
            caught += 1
    assert caught > 10


def test_what_is_not_of_a_trade_leaves_its_target_as_it_is_byte_for_byte() -> None:
    assert sum(check_target(case) for case in range(100)) > 200, "the cases have targets"


def _filled_early(definition: DatasetDefinition, panel: Panel, times: list[int]) -> Dataset:
    return switched(Switch.EARLY_FILL, make_dataset(definition, panel, times), panel, 0)


def _held_a_bar_longer(definition: DatasetDefinition, panel: Panel, times: list[int]) -> Dataset:
    longer = make_dataset(replace(definition, horizon=definition.horizon + 1), panel, times)
    return longer._replace(definition=definition)


def _left_at_the_close(definition: DatasetDefinition, panel: Panel, times: list[int]) -> Dataset:
    made = make_dataset(definition, panel, times)

    def one(sample: Sample) -> Sample:
        places = places_of(panel, sample.symbols)
        opens, closes = panel.after(sample.time_ms + DELAY * panel.bar_ms, definition.horizon + 1)
        return sample.with_returns(closes[-1, places] / opens[0, places] - 1)

    return made._replace(samples=tuple(one(sample) for sample in made.samples))


@pytest.mark.parametrize("cheating", [_filled_early, _held_a_bar_longer, _left_at_the_close])
def test_a_target_that_knows_another_bar_is_caught(cheating: Make) -> None:
    caught = 0
    for case in range(30):
        try:
            check_target(case, cheating)
        except AssertionError:
            caught += 1
    assert caught > 10


def test_features_that_are_late_show_no_future() -> None:
    def late(definition: DatasetDefinition, panel: Panel, times: list[int]) -> Dataset:
        return switched(Switch.FEATURES_LATE, make_dataset(definition, panel, times), panel, 0)

    assert sum(check(case, late) for case in range(30))
