"""What the tests of the loop share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.doubles.manualclock import ManualClock
from tests.manager.support import NOW, World


@pytest.fixture
async def gate(world: World) -> AsyncIterator[asyncio.Event]:
    """Opened at the latest when the test is over, so that the manager can end."""
    gate = asyncio.Event()
    yield gate
    gate.set()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World(clock=ManualClock(NOW))
    await world.start()
    yield world
    await world.die()
