"""The images, built once: what fails here is a build, and the message is the builder's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.images.house import House


@pytest.fixture(scope="session")
def house() -> Iterator[House]:
    """The base images and the services', built as `make images` does."""
    found = House()
    try:
        found.build("base", "base-lean", "arango-candles", "dummy-service", "loader-api-candles", "queue-manager")
        yield found
    finally:
        found.close()
