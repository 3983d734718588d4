"""Who gets the one store: machines whose clocks the tests move; the holder alone changes it."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable
from typing import Any, cast

import pytest

from streamforge.manager.persistence.lease import READING, Held, fenced, managed_store
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.ports.object_store import ObjectStore
from streamforge_utils.ports.store import Store
from tests.addresses import EVERYWHERE
from tests.doubles.clock import FakeClock
from tests.doubles.memorystore import MemoryStore
from tests.manager.persistence.machines import LEASE_S, SINCE, Machine, claim, holder_of


async def test_a_manager_of_a_free_store_begins_at_once_and_leaves_it_free() -> None:
    store, clock = MemoryStore(), FakeClock()
    for name in ("one", "two"):
        async with managed_store(store, clock, claim(name)) as lease:
            assert lease is not None
            lease.check()
            assert await holder_of(store) == name
        assert await holder_of(store) is None
    assert clock.slept == []
    assert len(store.puts) == 4, "two writes each, and no other"


async def test_a_second_manager_is_refused_once_the_first_is_seen_alive_whoever_came_first() -> None:
    for names in (("one", "two"), ("two", "one")):
        store = MemoryStore()
        first, second = Machine(store, names[0]), Machine(store, names[1], started_ms=5)
        await first.lease.take()
        first.lease.serves("http://127.0.0.1:8080")
        async with first.alive():
            taking = asyncio.create_task(second.lease.take())
            await second.passes(LEASE_S - 1)
            assert not taking.done(), "it is not known yet"
            await first.passes(LEASE_S / 5)
            await second.passes(1, taking)
            with pytest.raises(Held) as told:
                await taking
            assert str(told.value) == (
                f"the store is managed by {names[0]}, since 2024-08-02 12:00:00 UTC by its clock: use it on its "
                "machine with --server http://127.0.0.1:8080, or wait until it has ended (two managers would "
                "end each other's work)"
            )
            assert second.told == [
                f"the store is, or was, managed by {names[0]}, since 2024-08-02 12:00:00 UTC by its clock: waiting up "
                "to 20 s to see whether it is alive"
            ]
            first.lease.check()
            await second.lease.release()
            assert await holder_of(store) == names[0], "who never had it takes nothing away"


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("http://127.1.2.3:8080", "use it on its machine with --server http://127.1.2.3:8080"),
        ("http://localhost:8080", "use it on its machine with --server http://localhost:8080"),
        ("http://[::1]:8080", "use it on its machine with --server http://[::1]:8080"),
        ("https://stf.dmz.home", "use it with --server https://stf.dmz.home"),
        ("http://10.0.0.7:8080", "use it with --server http://10.0.0.7:8080"),
        (None, "use it with --server and its address, or wait"),
        (f"http://{EVERYWHERE}:8080", "the address of its machine or service"),
        ("http://[::]:8080", "the address of its machine or service"),
    ],
)
async def test_the_refused_manager_is_told_how_to_reach_the_one_that_is_there(url: str | None, advice: str) -> None:
    store = MemoryStore()
    first, second = Machine(store, "one"), Machine(store, "two", started_ms=5)
    await first.lease.take()
    if url is not None:
        first.lease.serves(url)
    async with first.alive():
        taking = asyncio.create_task(second.lease.take())
        await second.passes(LEASE_S - 1)
        await first.passes(LEASE_S / 5)
        await second.passes(1, taking)
        with pytest.raises(Held, match=re.escape(advice)):
            await taking


async def test_after_a_manager_that_was_killed_the_next_waits_by_its_own_clock_alone() -> None:
    store = MemoryStore()
    # Its clock is a year ahead: what it wrote of the time is nothing to go by.
    killed = Machine(store, "killed", started_ms=SINCE + 365 * 86_400_000)
    await killed.lease.take()
    following = Machine(store, "next")
    following.clock.advance(1000)  # it has been up for a while
    taking = asyncio.create_task(following.lease.take())
    await following.clock.sleeping(1)  # it has read the lease
    await following.passes(LEASE_S - 0.25)
    assert not taking.done()
    await following.passes(0.25)
    assert taking.done()
    await taking
    assert await holder_of(store) == "next"
    following.lease.check()


async def test_one_that_comes_back_to_its_place_does_not_wait() -> None:
    store = MemoryStore()
    await Machine(store, "killed", place="this folder").lease.take()
    back = Machine(store, "back", place="this folder")
    await back.lease.take()  # nobody moves its clock
    assert await holder_of(store) == "back"
    other = Machine(store, "other", place="a copy of it")
    taking = asyncio.create_task(other.lease.take())
    await other.passes(LEASE_S - 1)
    assert not taking.done()
    taking.cancel()


async def test_of_two_that_wait_for_a_dead_one_one_is_refused() -> None:
    store = MemoryStore()
    await Machine(store, "killed").lease.take()
    both = [Machine(store, "left"), Machine(store, "right")]
    taking = [asyncio.create_task(machine.lease.take()) for machine in both]
    for _ in range(100):
        await asyncio.gather(*(machine.passes(0.25) for machine in both))
    ended = await asyncio.gather(*taking, return_exceptions=True)
    assert sorted(type(one).__name__ for one in ended) == ["Held", "NoneType"]
    assert await holder_of(store) == both[ended.index(None)].lease._me.name


def methods(port: type) -> dict[str, list[inspect.Parameter]]:
    return {
        name: list(inspect.signature(found).parameters.values())[1:]
        for name, found in inspect.getmembers(port, inspect.isfunction)
        if not name.startswith("_")
    }


METHODS = methods(Store)


class Recording:
    """Takes every call of a store. Gives `answer`."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.answer = object()

    def __getattr__(self, name: str) -> Any:
        async def take(*given: Any, **named: Any) -> object:
            self.calls.append((name, given, named))
            return self.answer

        return take


def allowed() -> None:
    """Nothing is the matter."""


def refused() -> None:
    raise RetryableError("the lease is lost")


def call(name: str, check: Callable[[], None], *, shortest: bool = False) -> tuple[Recording, Any, Any]:
    """A store, a call of one of its methods through the fence, and what must arrive."""
    behind, wanted = Recording(), [p for p in METHODS[name] if not shortest or p.default is p.empty]
    given = tuple(object() for p in wanted if p.kind is not p.KEYWORD_ONLY)
    named = {p.name: object() for p in wanted if p.kind is p.KEYWORD_ONLY}
    return behind, getattr(fenced(cast("Store", behind), check), name)(*given, **named), (name, given, named)


@pytest.mark.parametrize("shortest", [False, True])
@pytest.mark.parametrize("name", METHODS)
async def test_every_call_and_its_answer_go_through_as_they_are(name: str, shortest: bool) -> None:
    behind, made, expected = call(name, allowed, shortest=shortest)
    assert await made is behind.answer
    assert behind.calls == [expected]


@pytest.mark.parametrize("name", METHODS)
async def test_no_change_gets_through_without_the_lease_and_reading_needs_none(name: str) -> None:
    behind, made, expected = call(name, refused)
    if name in READING:
        await made
        assert behind.calls == [expected]
        return
    with pytest.raises(RetryableError, match="the lease is lost"):
        await made
    assert behind.calls == []


def test_every_method_of_a_store_reads_or_changes() -> None:
    assert METHODS.keys() - READING == {"upsert", "drop", "delete", "delete_keys", "put", "remove", "link", "unlink"}
    assert methods(ObjectStore).keys() - READING == {"put", "delete"}
    assert METHODS.keys() | methods(ObjectStore).keys() >= READING
    assert fenced(MemoryStore(), allowed).upserts_at_once == MemoryStore().upserts_at_once
