"""Pauses and bans of the exchange, on ArangoDB."""

import pytest

from tests.e2e.test_limits import *  # noqa: F403 - every test and fixture of it


def is_sampled(item: pytest.Function) -> bool:
    """One of each kind: until when something lasts does not depend on the store."""
    return not item.name.endswith("next minute]")
