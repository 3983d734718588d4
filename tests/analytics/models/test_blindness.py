"""No sample shows a bar that closes later, and datasets that do are caught."""

from __future__ import annotations

import pytest

from streamforge.analytics.graphs.panel import Panel
from streamforge.analytics.models.dataset import Dataset, DatasetDefinition, make_dataset
from streamforge.analytics.models.switchboard import Switch, switched
from tests.analytics.models.blindness import check


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


def test_features_that_are_late_show_no_future() -> None:
    def late(definition: DatasetDefinition, panel: Panel, times: list[int]) -> Dataset:
        return switched(Switch.FEATURES_LATE, make_dataset(definition, panel, times), panel, 0)

    assert sum(check(case, late) for case in range(30))
