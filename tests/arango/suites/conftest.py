"""Managers and workers whose store is ArangoDB, in the tests that `tests/e2e/takeover.py` tells of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import backends
from tests.arango.servers import Databases
from tests.e2e import takeover
from tests.e2e.conftest import exchange, manager, market_data, quiet

__all__ = ["exchange", "manager", "market_data", "quiet"]


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    takeover.choose(Path(__file__).parent, config, items)


@pytest.fixture(scope="module", autouse=True)
def store_of_managers(databases: Databases) -> Iterator[None]:
    """Managers that a module here starts use the server; those of other folders, which may follow, do not."""
    with backends.on_store(databases):
        yield
