"""A symbol that is halted, traded again and then delisted, on the secured broker."""

import pytest

from tests.e2e.test_halts import *  # noqa: F403 - every test and fixture of it

QUICK = frozenset[str]()


def is_sampled(item: pytest.Function) -> bool:
    """What lacks is compared with the store, and what was sent before the halt comes by the bus."""
    return True
