"""Graphs whose files lie on a real S3 server: made by two at once, with a server that dies, refuses or is away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from streamforge import wiring
from streamforge.analytics.graphs.graph_manifest import GraphManifest
from streamforge.workers.graph_builder import DEFINITION
from streamforge_utils.ports.object_store import ObjectStore
from streamforge_utils.runtime.life.settings import DataSettings
from tests.analytics.graphs.random_markets import Market, drawn_market
from tests.contracts.objects import names
from tests.e2e import rig
from tests.e2e.test_graphs import ASKED, asked, exchange, got
from tests.e2e.test_graphs import test_a_builder_and_a_manager_that_are_killed_make_the_same_graph as _killed
from tests.engines.objects.gateway import Gateway
from tests.engines.objects.test_object_bucket import gateway as gateway
from tests.runtime.rig import last, until
from tests.workers.test_graph_builder import DAILY, DAYS, Builder

__all__ = ["exchange"]


class InBucket(Builder):
    """A graph-builder whose objects are on the server, below `prefix`."""

    def __init__(self, folder: Path, gateway: Gateway, prefix: str) -> None:
        super().__init__(folder)
        self.environment |= gateway.environment(prefix)
        self.bucket: ObjectStore = wiring.make_object_store(gateway.settings(prefix), DataSettings())
        self.objects = self.bucket  # type: ignore[assignment]

    async def begun(self, market: Market) -> None:
        await self.prepare()
        await self.fill(market)
        await self.order(market)

    async def made(self) -> list[str]:
        """The names of the files of the graph."""
        return [name for name in await names(self.bucket) if name.startswith("graphs/")]


@pytest.fixture(scope="module")
def market() -> Market:
    return drawn_market(Random(3), DAILY, DAYS * 24)


async def of_a_folder(folder: Path, market: Market) -> GraphManifest:
    local = Builder(folder)
    await local.prepare()
    await local.fill(market)
    await local.order(market)
    assert await local.live(DEFINITION) == 0
    found = await local.manifest()
    await local.close()
    return found


async def test_two_that_make_it_at_once_make_the_one_that_a_folder_has(
    gateway: Gateway, tmp_path: Path, market: Market
) -> None:
    expected = await of_a_folder(tmp_path / "local", market)
    both = [InBucket(tmp_path / name, gateway, "race") for name in ("left", "right")]
    for one in both:
        await one.begun(market)
    assert await asyncio.gather(*(one.live(DEFINITION) for one in both)) == [0, 0]
    for one in both:
        assert await one.manifest() == expected
    assert expected.file_names <= {*await both[0].made()}
    for name in expected.file_names:
        assert b"".join([block async for block in both[0].bucket.get(name)]).startswith(b"PAR1")
    for one in both:
        await one.close()


async def test_a_server_that_dies_under_it_is_waited_for(tmp_path: Path, market: Market) -> None:
    expected = await of_a_folder(tmp_path / "local", market)
    server = Gateway(tmp_path / "server")
    server.start()
    try:
        builder = InBucket(tmp_path / "own", server, "dies")
        await builder.begun(market)
        server.process.stop()
        working = asyncio.create_task(builder.live(DEFINITION))
        await until(lambda: "objects" in builder.logs.getvalue() or working.done())
        assert not working.done(), builder.logs.getvalue()
        server.start()
        assert await working == 0
        assert await builder.manifest() == expected
        await builder.close()
    finally:
        server.process.stop()


async def test_keys_that_are_refused_end_it_at_once_and_nothing_is_there(
    gateway: Gateway, tmp_path: Path, market: Market
) -> None:
    builder = InBucket(tmp_path, gateway, "refused")
    await builder.begun(market)
    builder.environment["STREAMFORGE_S3_SECRET_KEY"] = "n0t-the-key"
    assert await builder.live(DEFINITION) == 1
    event, _ = last(await builder.events())
    assert event.event == "error"
    assert "STREAMFORGE_S3_SECRET_KEY" in (event.error_message or "")
    assert await builder.made() == []
    assert not await builder.documents("snapshots")
    await builder.close()


@pytest.fixture
def manager(gateway: Gateway, exchange: rig.Exchange, tmp_path: Path) -> Iterator[rig.Manager]:
    with rig.manager(tmp_path / "data", exchange.url, **gateway.environment(f"managed/{tmp_path.name}")) as found:
        yield found


def test_killed_and_gone_on_with_it_is_the_same_in_a_bucket(manager: rig.Manager) -> None:
    _killed(manager)
    assert not (manager.data / "objects").exists()
    assert manager.api.delete("/graphs/four").raise_for_status().json()["objects_removed"] > 0
    manager.finished(asked(manager))
    assert got(manager, "/graphs/four")["symbols"] == len(ASKED["symbols"])
