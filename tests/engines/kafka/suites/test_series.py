"""Series of every kind of name and end, on the secured broker."""

import pytest

from tests.e2e.test_series import *  # noqa: F403 - every test and fixture of it


def is_sampled(item: pytest.Function) -> bool:
    """Sixteen intervals at once are a load for the machine, not a question to the bus."""
    return item.originalname != "test_every_interval_is_loaded_exactly_as_the_exchange_has_it"


QUICK = {"test_a_symbol_in_another_script_and_a_name_at_its_limit_are_taken"}
"""Their topics' names are what Kafka has to take."""
