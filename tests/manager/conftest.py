from __future__ import annotations

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from tests.doubles.ticks import registered
from tests.manager.support import World


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What the manager logs is kept, not printed: tracebacks take long to draw."""
    with capture_logs():
        yield


@pytest.fixture(scope="module")
def ticks() -> Iterator[None]:
    """Ticks, which have consecutive ids, are a kind of records."""
    with registered():
        yield


@pytest.fixture
async def world() -> World:
    """A manager whose parts are doubles, ready to be asked."""
    world = World()
    await world.start()
    return world
