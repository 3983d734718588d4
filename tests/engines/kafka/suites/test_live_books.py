"""Order books as whole workflows, on the secured broker."""

import pytest

from tests.e2e.test_live_books import *  # noqa: F403 - every test and fixture of it


def is_sampled(item: pytest.Function) -> bool:
    """Whether the bus has to do with it: what a killed loader or sink has left on the topic."""
    return item.originalname in (
        "test_kills_of_loader_sink_and_manager_lose_what_the_loader_missed_and_nothing_else",
        "test_what_passed_while_it_was_stopped_is_lost_and_what_the_sink_had_left_is_stored_by_the_retry",
    )
