"""Files of the archive and requests together, on ArangoDB: broken, disputed and lacking files."""

import pytest

from tests.e2e.test_two_sources import *  # noqa: F403 - every test and fixture of it

LEFT_OUT = {
    "test_files_take_the_place_of_requests_for_all_that_is_over",
    "test_more_than_the_topic_holds_comes_from_files_after_requests_have_ended",
    "test_a_day_without_a_file_is_planned_over_rest",
    "test_files_with_other_candles_than_rest_are_noticed_and_rest_takes_over",
    "test_trades_that_only_files_have_and_the_store_loses_are_an_error_until_they_stay",
}
"""The last one breaks a file of the embedded store; the planner and the topic decide the others."""


def is_sampled(item: pytest.Function) -> bool:
    """Whether the store decides it."""
    return item.originalname not in LEFT_OUT
