"""What the end-to-end tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import places
from tests.e2e import rig


@pytest.fixture(scope="session")
def market_data() -> Path:
    """The folder of recordings; the test skips where it is absent, unless they are required."""
    return places.market_data()


@pytest.fixture(scope="module")
def exchange() -> Iterator[rig.Exchange]:
    """A seeded exchange for the tests of a module."""
    with rig.exchange() as found:
        yield found


@pytest.fixture(scope="module")
def manager(exchange: rig.Exchange, tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Manager]:
    """A manager for the tests of a module."""
    with rig.manager(tmp_path_factory.mktemp("e2e") / "data", exchange.url) as found:
        yield found


@pytest.fixture
def quiet(exchange: rig.Exchange) -> Iterator[rig.Exchange]:
    """The exchange without faults, with nothing counted; and so again afterwards."""
    exchange.reset()
    yield exchange
    exchange.reset()
