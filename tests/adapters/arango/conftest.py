"""A double in the test's own process, and stores on it that do not wait long."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from random import random

import pytest

from streamforge_utils.adapters.arango import ArangoStore, Connection, Retries, Transport
from streamforge_utils.model.secret import Secret
from streamforge_utils.ports.clock import Clock
from tests.doubles.arangodb.double import ArangoDouble
from tests.doubles.arangodb.server import Settings
from tests.doubles.observer import RecordingObserver

DATABASE, PASSWORD = "candles", "hush-hush"
IMPATIENT = Retries(attempts=5, within_s=30, base_s=0.001, cap_s=0.005)

MakeStore = Callable[..., ArangoStore]
Jitter = Callable[[], float]


@pytest.fixture(params=["3.12.10", "3.11.14"])
def version(request: pytest.FixtureRequest) -> str:
    """What the double pretends to be."""
    return str(request.param)


@pytest.fixture
async def double(version: str) -> AsyncIterator[ArangoDouble]:
    async with ArangoDouble(Settings(version=version, password=PASSWORD)) as found:
        found.server.create_database({"name": DATABASE})
        yield found


@pytest.fixture
def observer() -> RecordingObserver:
    return RecordingObserver()


@pytest.fixture
async def make(double: ArangoDouble, observer: RecordingObserver) -> AsyncIterator[MakeStore]:
    """Makes stores, which are closed in the end; `how` changes the connection."""
    made: list[ArangoStore] = []

    def make(
        retries: Retries = IMPATIENT, clock: Clock | None = None, jitter: Jitter = random, **how: object
    ) -> ArangoStore:
        known: dict[str, object] = {
            "url": double.url,
            "database": DATABASE,
            "user": "root",
            "password": Secret(PASSWORD),
        }
        connection = Connection(**(known | how))  # type: ignore[arg-type]  # a test's own words
        transport = Transport(connection, observer=observer, retries=retries, clock=clock, jitter=jitter)
        made.append(ArangoStore(transport))
        return made[-1]

    yield make
    for store in made:
        await store.close()


@pytest.fixture
def store(make: MakeStore) -> ArangoStore:
    return make()
