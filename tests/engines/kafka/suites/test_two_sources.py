"""Files of the archive and requests into one topic, on the secured broker: broken, disputed and lacking files."""

import pytest

from tests.e2e.test_two_sources import *  # noqa: F403 - every test and fixture of it

LEFT_OUT = {
    "test_files_take_the_place_of_requests_for_all_that_is_over",
    "test_a_day_without_a_file_is_planned_over_rest",
    "test_trades_before_the_first_one_that_rest_gives_come_from_files",
    "test_trades_that_only_files_have_and_the_store_loses_are_an_error_until_they_stay",
}
"""The planner and the store decide them."""

QUICK = {
    "test_what_files_do_not_give_is_loaded_over_rest_by_itself",
    "test_a_file_of_other_trades_ends_a_load_of_files_alone_with_the_first_difference",
    "test_the_verdict_outlives_a_loader_that_is_killed_and_a_load_that_is_stopped",
}
"""Two loaders, and attempts of one, write to the topic, and what is told on the way is an event."""


def is_sampled(item: pytest.Function) -> bool:
    """Whether the bus decides it."""
    return item.originalname not in LEFT_OUT
