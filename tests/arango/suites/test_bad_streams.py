"""Symbols that are not traded, and times in another unit, on ArangoDB."""

import pytest

from tests.e2e.test_bad_streams import *  # noqa: F403 - every test and fixture of it

QUICK = frozenset[str]()


def is_sampled(item: pytest.Function) -> bool:
    """Whether a record or the lack of it decides: what concerns the connection alone ends before bus and store."""
    return item.originalname in (
        "test_a_symbol_that_is_not_traded_says_so_and_is_stopped_without_a_hole",
        "test_a_symbol_of_another_script_is_recorded_as_any_other",
        "test_times_in_microseconds_are_refused_with_the_reason_and_cost_nothing",
    )
