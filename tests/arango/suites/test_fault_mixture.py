"""A mixture of faults that strike live workflows at once, on ArangoDB."""

import pytest

from tests.chaos.test_fault_mixture import *  # noqa: F403 - every test and fixture of it

QUICK = frozenset[str]()


def is_sampled(item: pytest.Function) -> bool:
    """What draws them is the same everywhere."""
    return item.originalname == "test_a_mixture_of_faults_costs_nothing_without_a_name"
