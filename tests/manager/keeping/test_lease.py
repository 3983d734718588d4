"""One manager drives the workflows of a store: who it is, who follows, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

import pytest

from streamforge.manager.keeping.lease import DOUBT_S, ID, KIND, RENEW_S, TTL_S, Lease, LeaseLost, owner_of
from streamforge_utils.model.errors import ConfigError, RetryableError
from tests.doubles.manualclock import ManualClock
from tests.doubles.memorystore import MemoryStore

T = TypeVar("T")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def lease(store: MemoryStore, clock: ManualClock, owner: str) -> Lease:
    return Lease(store, clock, owner=owner, where=f"data in /{owner}")


async def in_time(clock: ManualClock, what: Awaitable[T], limit_s: float) -> T:
    """What comes within `limit_s` of the clock's seconds."""
    task = asyncio.ensure_future(what)
    end = clock.monotonic() + limit_s
    while not task.done() and clock.monotonic() < end:
        for _ in range(20):
            await asyncio.sleep(0)
        clock.advance(0.5)
    for _ in range(50):
        await asyncio.sleep(0)
    assert task.done(), f"not within {limit_s} s"
    return await task


async def test_who_comes_first_holds_it_and_the_next_is_refused_by_name(store: MemoryStore, clock: ManualClock) -> None:
    first, second = lease(store, clock, "a"), lease(store, clock, "b")
    await first.take()
    await first.tell("http://127.0.0.1:8080")
    keeping = asyncio.create_task(first.keep())
    with pytest.raises(ConfigError, match=r"data in /a.*--server http://127.0.0.1:8080.*ARANGO_DB"):
        await in_time(clock, second.take(), RENEW_S + 2)
    assert not keeping.done()
    keeping.cancel()


async def test_who_leaves_lets_the_next_begin_at_once(store: MemoryStore, clock: ManualClock) -> None:
    first, second = lease(store, clock, "a"), lease(store, clock, "b")
    await first.take()
    await first.leave()
    await in_time(clock, second.take(), 0.5)
    assert await store.get(KIND, ID) is not None


async def test_the_same_folder_takes_over_at_once(store: MemoryStore, clock: ManualClock) -> None:
    """Its lock says that the former process is gone."""
    before, after = lease(store, clock, "a"), lease(store, clock, "a")
    await before.take()
    await in_time(clock, after.take(), 0.5)
    with pytest.raises(LeaseLost, match="data in /a"):
        await before.tell("http://late")


async def test_who_was_killed_is_followed_once_it_was_silent_for_long(store: MemoryStore, clock: ManualClock) -> None:
    await lease(store, clock, "a").take()
    second = lease(store, clock, "b")
    task = asyncio.ensure_future(second.take())
    with pytest.raises(AssertionError, match="not within"):
        await in_time(clock, asyncio.shield(task), TTL_S - 2)
    await in_time(clock, task, 4)
    second.check()


async def test_of_two_that_wait_for_the_dead_one_follows(store: MemoryStore, clock: ManualClock) -> None:
    await lease(store, clock, "a").take()
    waiting = [lease(store, clock, owner) for owner in "bc"]

    async def drive(one: Lease) -> None:
        await one.take()
        await one.keep()

    tasks = [asyncio.create_task(drive(one)) for one in waiting]
    end = clock.monotonic() + TTL_S + RENEW_S + 4
    while clock.monotonic() < end and not any(task.done() for task in tasks):
        for _ in range(30):
            await asyncio.sleep(0)
        clock.advance(0.5)
    (refused,) = [task for task in tasks if task.done()]
    assert isinstance(refused.exception(), ConfigError)
    for task in tasks:
        task.cancel()


async def test_who_is_passed_over_ends(store: MemoryStore, clock: ManualClock) -> None:
    """It slept, and another took its place meanwhile."""
    first = lease(store, clock, "a")
    await first.take()
    state = await store.get(KIND, ID)
    assert state is not None
    await store.remove(KIND, ID, expected=state.revision)
    await lease(store, clock, "b").take()
    with pytest.raises(LeaseLost, match="data in /b"):
        await in_time(clock, first.keep(), RENEW_S + 1)
    await first.leave()  # which is not its own any more
    assert await store.get(KIND, ID) is not None


async def test_a_lease_that_somebody_removed_is_taken_again(store: MemoryStore, clock: ManualClock) -> None:
    first = lease(store, clock, "a")
    await first.take()
    state = await store.get(KIND, ID)
    assert state is not None
    await store.remove(KIND, ID, expected=state.revision)
    keeping = asyncio.create_task(first.keep())
    with pytest.raises(AssertionError, match="not within"):
        await in_time(clock, asyncio.shield(keeping), RENEW_S + 1)
    assert await store.get(KIND, ID) is not None
    keeping.cancel()


async def test_nothing_is_begun_while_it_cannot_be_renewed(store: MemoryStore, clock: ManualClock) -> None:
    first = lease(store, clock, "a")
    await first.take()
    first.check()
    keeping = asyncio.create_task(first.keep())
    store.failing = RetryableError("it does not answer")
    with pytest.raises(AssertionError, match="not within"):
        await in_time(clock, asyncio.shield(keeping), DOUBT_S + 1)
    with pytest.raises(RetryableError, match="lease"):
        first.check()
    store.failing = None
    with pytest.raises(AssertionError, match="not within"):
        await in_time(clock, asyncio.shield(keeping), RENEW_S + 1)
    first.check()
    keeping.cancel()


def test_a_folder_keeps_its_name_and_two_have_two(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    first, where = owner_of(tmp_path / "a", "")
    assert owner_of(tmp_path / "a", "")[0] == first
    assert owner_of(tmp_path / "b", "")[0] != first
    assert str(tmp_path / "a") in where
    with pytest.raises(ConfigError, match="--data"):
        owner_of(tmp_path / "nowhere", "")


def test_without_a_folder_only_a_pod_has_a_name_that_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert owner_of(None, "stf")[0] != owner_of(None, "stf")[0]
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    assert owner_of(None, "stf") == owner_of(None, "stf")
    assert owner_of(None, "stf")[0] != owner_of(None, "other")[0]
