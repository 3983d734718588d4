"""What the tests of the test exchange share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.exchange.support import Peer, peer


@pytest.fixture
async def exchange() -> AsyncIterator[Peer]:
    """A seeded exchange without faults."""
    async with peer() as found:
        yield found
