from __future__ import annotations

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from tests.manager.support import World


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What the manager logs is kept, not printed: tracebacks take long to draw."""
    with capture_logs():
        yield


@pytest.fixture
async def world() -> World:
    """A manager whose parts are doubles, ready to be asked."""
    world = World()
    await world.start()
    return world
