"""The end-to-end, fault and kill tests once more: managers and workers whose bus is the secured broker.

The tests are those of `tests/e2e` and `tests/chaos`. A module here takes one of them over; if it has `is_sampled`, only
the tests of which that is true, because for the bus the others would say the same once more. If it has `QUICK`, the
tests that are not named there, which ask less of the bus, are run by `make test-long` only.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import busenv
from tests.e2e.conftest import exchange, manager, market_data, quiet
from tests.engines.kafka.broker import Broker

__all__ = ["exchange", "manager", "market_data", "quiet"]


LIMIT_S = 600
"""Of a test that names none: with a first one the broker starts."""


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose, and give what is chosen the time that it needs on a broker."""
    left_out: list[pytest.Item] = []
    for item in items:
        if not isinstance(item, pytest.Function) or item.path.parent != Path(__file__).parent:
            continue
        if not getattr(item.module, "is_sampled", lambda item: True)(item):
            left_out.append(item)
            continue
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(LIMIT_S))
        if item.originalname not in getattr(item.module, "QUICK", {item.originalname}):
            item.add_marker(pytest.mark.long)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="module", autouse=True)
def bus_of_managers(secured_broker: Broker) -> Iterator[None]:
    """Managers that a module here starts use the secured broker; those of other folders, which may follow, do not."""
    with busenv.instead(secured_broker.environment()):
        yield
