"""What the tests of the loop share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.doubles.manualclock import ManualClock
from tests.manager.support import NOW, World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World(clock=ManualClock(NOW))
    await world.start()
    yield world
    await world.die()
