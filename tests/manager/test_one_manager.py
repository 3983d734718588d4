"""A manager that runs on a store which others reach: it says what it has lost, does nothing then, and ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from streamforge.manager.manager_settings import ManagerSettings
from streamforge.manager.persistence.installation import Claim, Holder, Installations
from streamforge.manager.persistence.lease import Held, LeaseLost
from streamforge.manager.running_manager import Ports, Running, running
from streamforge.manager.use_cases import StartRequest
from streamforge_utils.adapters.object_storage.object_folder import ObjectFolder
from streamforge_utils.model.errors import ConfigError, RetryableError
from streamforge_utils.runtime.life.settings import DataSettings, ExchangeSettings
from tests.doubles.manualclock import ManualClock
from tests.limits import LIMIT_S
from tests.manager.persistence.machines import LEASE_S, claim
from tests.manager.support import World, planned


@asynccontextmanager
async def manager(world: World, folder: Path, claimed: Claim | None) -> AsyncIterator[Running]:
    ports = Ports(
        bus=world.bus,
        store=world.store,
        launcher=world.launcher,
        exchange=world.exchange,
        clock=world.clock,
        retained=ObjectFolder(folder / "retained"),
    )
    settings = ManagerSettings(data=DataSettings(data_dir=folder), exchange=ExchangeSettings(), port=0)
    async with running(ports, settings, claim=claimed, reconcile=claimed is not None) as found:
        yield found


def clock_of(world: World) -> ManualClock:
    assert isinstance(world.clock, ManualClock)
    return world.clock


async def passes(world: World, seconds: float) -> None:
    """Time in small steps, so that all that sleeps goes on."""
    for _ in range(round(seconds / 0.5)):
        clock_of(world).advance(0.5)
        for _ in range(20):
            await asyncio.sleep(0)


async def taken(world: World, name: str) -> None:
    """Another manager writes itself into the store."""
    installations = Installations(world.store)
    kept, revision = await installations.read()
    other = Holder(id="other", name=name, since_ms=0, lease_s=LEASE_S)
    await installations.write(msgspec.structs.replace(kept, holder=other), revision)


async def test_it_ends_with_the_word_that_names_who_has_the_store(tmp_path: Path) -> None:
    world = World(clock=ManualClock())
    async with manager(world, tmp_path, claim("mine")) as found:
        workflow = planned()
        await found.reconciler._deps.workflows.create(workflow)
        await taken(world, "theirs")
        await passes(world, LEASE_S / 4)
        with pytest.raises(LeaseLost, match="the store is managed by theirs"):
            await asyncio.wait_for(found.ended, LIMIT_S)
        before = (list(world.launcher.started), list(world.launcher.stopped))
        ready = await found.manager.readiness.look()
        assert "the store is managed by theirs" in str(ready["reconciler"])
        with pytest.raises(LeaseLost):
            await found.manager.stop(workflow.queue_id)
        with pytest.raises(LeaseLost):
            await found.reconciler.turn()
        retained = found.manager._deps.retained
        assert retained is not None
        for change in (retained.put("name", b"content"), retained.delete(["name"])):
            with pytest.raises(LeaseLost):
                await change
        assert [one async for one in retained.list()] == []
        await passes(world, LEASE_S)
        assert (world.launcher.started, world.launcher.stopped) == before
    kept, _ = await Installations(world.store).read()
    assert kept.holder is not None
    assert kept.holder.name == "theirs"


async def test_while_it_cannot_renew_it_is_not_ready_and_goes_on_afterwards(tmp_path: Path) -> None:
    world = World(clock=ManualClock())
    async with manager(world, tmp_path, claim("mine")) as found:
        world.store.failing = RetryableError("the cable is cut")
        await passes(world, LEASE_S)
        told = str((await found.manager.readiness.look())["reconciler"])
        assert told.startswith("the lease on the store was last renewed ")
        assert "(the cable is cut)" in told
        with pytest.raises(RetryableError):
            await found.manager.start(StartRequest(symbol="BTCUSDT", type="api_candles_1m", time_range="2024-08-01"))
        world.store.failing = None
        await passes(world, LEASE_S)
        assert not found.ended.done()
        await found.manager.start(StartRequest(symbol="BTCUSDT", type="api_candles_1m", time_range="2024-08-01"))


async def test_questions_are_answered_beside_a_manager_and_a_second_one_is_refused(tmp_path: Path) -> None:
    first = World(clock=ManualClock())
    async with manager(first, tmp_path, claim("mine")) as found:
        second = World(clock=ManualClock())
        second.store = first.store
        async with manager(second, tmp_path, None) as reading:
            assert list((await reading.manager.find()).workflows) == []
        starting = asyncio.create_task(_enter(second, tmp_path, claim("other")))
        await passes(second, 1)
        await passes(first, LEASE_S / 4)
        await passes(second, 1)
        with pytest.raises(Held, match=rf"managed by mine, since .*--server {found.url}, or wait"):
            await asyncio.wait_for(starting, LIMIT_S)
        assert second.launcher.started == []
        assert not found.ended.done()
    kept, _ = await Installations(first.store).read()
    assert (kept.holder, kept.origin) == (None, None), "nothing was accepted"


async def test_a_start_that_fails_leaves_the_store_free(tmp_path: Path) -> None:
    world = World(clock=ManualClock())
    world.launcher.failing = ConfigError("no such cluster")
    with pytest.raises(ConfigError, match="no such cluster"):
        await _enter(world, tmp_path, claim("mine"))
    kept, _ = await Installations(world.store).read()
    assert kept.holder is None


async def _enter(world: World, folder: Path, claimed: Claim) -> None:
    async with manager(world, folder, claimed):
        pass
