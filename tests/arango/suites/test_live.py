"""Live series over midnight on ArangoDB: each day is a collection, which is made with its first record."""

import pytest

from tests.e2e.test_live import *  # noqa: F403 - every test and fixture of it


def is_sampled(item: pytest.Function) -> bool:
    """Where the store has to do with it: the others take it as it comes."""
    return item.name.startswith("test_over_midnight")
