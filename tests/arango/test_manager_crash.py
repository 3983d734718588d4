"""The manager dies at every call of its ports, as in `tests/chaos`, and the store is ArangoDB, 3.12 and 3.11.

Each story has a server of its own that loses requests and answers: what was done without being known to be done is
found out, in this life of the manager or the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from zlib import crc32

import pytest

from streamforge.manager.engine.execution import reconciler
from streamforge.manager.persistence.installation import Claim
from streamforge_utils.adapters.arango import ArangoStore, Connection, Retries, Transport
from streamforge_utils.model.secret import Secret
from tests.chaos.crash import World
from tests.chaos.story import OpenWorld, die_at_calls, new_exchange
from tests.doubles.arangodb.double import ArangoDouble
from tests.doubles.arangodb.misbehaviour import Fault
from tests.doubles.arangodb.server import Settings

DATABASE, PASSWORD = "candles", "hush-hush"
RETRIES = Retries(base_s=0.001, cap_s=0.01)
CLAIM = Claim(
    name="queue-manager of a story",
    where="the database",
    elsewhere="name another database",
    switch="--exchange ",
    shared=True,
    place="the one data directory, whose next manager need not wait",
)
CUTS = ("cut-before", "cut-after")
METHODS, WRITES = "POST|PATCH|DELETE", "_api/(document|cursor)"
LOST = 0.1
"""The share of changes that never arrive, and of answers to them."""


def _worlds(version: str, lost: Counter[str]) -> OpenWorld:
    """lost: what got lost in all of them, by kind."""

    @asynccontextmanager
    async def world(folder: Path) -> AsyncIterator[World]:
        async with ArangoDouble(Settings(version=version, password=PASSWORD)) as double:
            double.server.create_database({"name": DATABASE})
            for kind in CUTS:
                seed = crc32(f"{kind} {folder.name}".encode())
                double.misbehaviour.add(Fault(kind=kind, method=METHODS, path=WRITES, share=LOST, seed=seed))
            connection = Connection(url=double.url, database=DATABASE, user="root", password=Secret(PASSWORD))
            yield World(folder, new_exchange(), lambda: ArangoStore(Transport(connection, retries=RETRIES)), CLAIM)
            lost.update(double.misbehaviour.hits)
            assert not (folder / "store").exists(), "something lies in the embedded store"

    return world


@pytest.mark.parametrize("version", ["3.12.10", "3.11.14"])
@pytest.mark.parametrize(("stop", "sample"), [(False, 12), (True, 6)], ids=["finished", "stopped"])
async def test_a_manager_that_dies_at_any_call_changes_nothing_on_arangodb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: bool, sample: int, version: str
) -> None:
    monkeypatch.setattr(reconciler.Reconciler, "LOOK_EVERY_S", 0.1)
    lost: Counter[str] = Counter()
    await die_at_calls(tmp_path, _worlds(version, lost), stop=stop, sample=sample)
    assert set(lost) == set(CUTS)
