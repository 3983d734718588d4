"""One manager per store, on clocks that the tests move: each machine has its own, and they agree about nothing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from streamforge.manager.keeping import lease as lease_module
from streamforge.manager.keeping.fenced import FencedStore
from streamforge.manager.keeping.installation import FORMAT, ID, KIND, Claim, Installations
from streamforge.manager.keeping.lease import Held, Lease, LeaseLost, managing
from streamforge.manager.origin import Origin
from streamforge_utils.model.errors import ConfigError, ConflictError, RetryableError
from streamforge_utils.ports.store import Document, Edge
from tests.addresses import EVERYWHERE
from tests.doubles.clock import FakeClock
from tests.doubles.manualclock import ManualClock
from tests.doubles.memorystore import MemoryStore
from tests.limits import LIMIT_S

LEASE_S = 20.0
SINCE = 1_722_600_000_000


def claim(name: str, *, place: str = "", told: list[str] | None = None) -> Claim:
    return Claim(
        name=name,
        where="the store",
        elsewhere="name another",
        switch="--exchange ",
        shared=True,
        origin=Origin("test"),
        place=place,
        lease_s=LEASE_S,
        tell=lambda text: None if told is None else told.append(text),
    )


class Machine:
    """A manager on a machine of its own: its clock begins anywhere, and stands until it is moved."""

    def __init__(self, store: MemoryStore, name: str, *, place: str = "", started_ms: int = SINCE) -> None:
        self.clock = ManualClock(started_ms)
        self.told: list[str] = []
        self.lease = Lease(store, self.clock, claim(name, place=place, told=self.told))

    async def passes(self, seconds: float, task: asyncio.Task[None] | None = None) -> None:
        """Let time pass here, in steps so small that nothing is overslept; what sleeps goes on."""
        for _ in range(round(seconds / 0.25)):
            self.clock.advance(0.25)
            for _ in range(20):
                await asyncio.sleep(0)
            if task is not None and task.done():
                return

    @asynccontextmanager
    async def alive(self) -> AsyncIterator[asyncio.Task[None]]:
        """It renews its lease until the end of the block."""
        keeping = asyncio.create_task(self.lease.keep())
        await self.clock.sleeping(1)
        yield keeping
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


async def holder_of(store: MemoryStore) -> str | None:
    kept, _ = await Installations(store).read()
    return None if kept.holder is None else kept.holder.name


async def test_a_manager_of_a_free_store_begins_at_once_and_leaves_it_free() -> None:
    store, clock = MemoryStore(), FakeClock()
    for name in ("one", "two"):
        async with managing(store, clock, claim(name)) as lease:
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


async def test_a_holder_that_was_paused_acts_no_more_and_ends_once_it_learns_who_has_the_store() -> None:
    store = MemoryStore()
    paused, following = Machine(store, "paused"), Machine(store, "next")
    await paused.lease.take()
    async with paused.alive() as keeping:
        taking = asyncio.create_task(following.lease.take())
        await following.passes(LEASE_S + 1, taking)
        await taking
        fenced = FencedStore(store, paused.lease.check)
        # It goes on where it stood: before it has asked anybody.
        paused.clock._seconds += LEASE_S
        with pytest.raises(RetryableError, match=r"was last renewed 20 s ago: nothing is done until it is renewed"):
            await fenced.put("workflow", "wf", b"{}", expected=None)
        await paused.passes(LEASE_S, keeping)
        with pytest.raises(LeaseLost, match=r"the store is managed by next, since .* has stopped acting"):
            await keeping
        with pytest.raises(LeaseLost, match="managed by next"):
            await fenced.put("workflow", "wf", b"{}", expected=None)
    await paused.lease.release()
    assert await holder_of(store) == "next"
    following.lease.check()


async def test_a_lease_counts_from_before_its_request_and_not_from_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    machine = Machine(store, "holder")

    def slow(answer: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
        async def answering(*given: Any, **named: Any) -> object:
            found = await answer(*given, **named)
            machine.clock.advance(6)
            return found

        return answering

    def holds_for(seconds: float) -> None:
        machine.clock.advance(seconds)
        machine.lease.check()
        machine.clock.advance(0.25)
        with pytest.raises(RetryableError, match="was last renewed 15 s ago"):
            machine.lease.check()

    with monkeypatch.context() as patch:
        patch.setattr(store, "put", slow(store.put))
        await machine.lease.take()
        holds_for(0.75 * LEASE_S - 6)
        await machine.lease.renew()
        holds_for(0.75 * LEASE_S - 6)
    # The answer to a renewal gets lost, and what was written is read: from before that request on it is certain.
    store.lost_answers, store.failing_after = 1, RetryableError("the answer was lost")
    with pytest.raises(RetryableError, match="the answer was lost"):
        await machine.lease.renew()
    with monkeypatch.context() as patch:
        patch.setattr(store, "get", slow(store.get))
        await machine.lease.renew()
    holds_for(0.75 * LEASE_S - 6)


async def test_a_machine_that_slept_is_told_by_its_wall_clock() -> None:
    machine = Machine(MemoryStore(), "laptop")
    await machine.lease.take()
    machine.lease.check()
    machine.clock._start_ms += 3_600_000  # the monotonic clock stood still
    with pytest.raises(RetryableError) as told:
        machine.lease.check()
    assert str(told.value) == (
        "the lease on the store was last renewed 3600 s ago: nothing is done until it is renewed, as another manager "
        "may have taken it"
    )
    await machine.lease.renew()
    machine.lease.check()
    machine.clock._start_ms -= 3_600_000  # somebody set it back: that is no sleep
    machine.lease.check()


async def test_a_store_that_is_away_stops_the_holder_before_anybody_may_follow_and_costs_nothing_else() -> None:
    store = MemoryStore()
    machine = Machine(store, "holder")
    await machine.lease.take()
    async with machine.alive() as keeping:
        store.failing = RetryableError("the cable is cut")
        await machine.passes(0.7 * LEASE_S)
        machine.lease.check()
        await machine.passes(0.1 * LEASE_S)
        with pytest.raises(
            RetryableError, match=r"the lease on the store was last renewed 16 s ago \(the cable is cut\)"
        ):
            machine.lease.check()
        await machine.passes(5 * LEASE_S)
        assert not keeping.done()
        store.failing = None
        await machine.passes(LEASE_S / 3)
        machine.lease.check()
        assert await holder_of(store) == "holder"


async def test_a_renewal_whose_answer_was_lost_is_no_loss() -> None:
    store = MemoryStore()
    machine = Machine(store, "holder")
    await machine.lease.take()
    async with machine.alive() as keeping:
        store.lost_answers, store.failing_after = 1, RetryableError("the answer was lost")
        await machine.passes(LEASE_S)
        assert store.lost_answers == 0
        assert not keeping.done()
        machine.lease.check()
    store.lost_answers = 1
    with pytest.raises(RetryableError):
        await machine.lease.renew()
    await machine.lease.release()
    assert await holder_of(store) is None


async def test_a_newer_version_that_took_the_store_ends_the_holder() -> None:
    store = MemoryStore()
    machine = Machine(store, "old")
    await machine.lease.take()
    store.damage(KIND, ID, b'{"format":%d}' % (FORMAT + 1))
    state = await store.get(KIND, ID)
    assert state is not None
    await store.put(KIND, ID, state.body, expected=state.revision)
    async with machine.alive() as keeping:
        await machine.passes(LEASE_S, keeping)
        with pytest.raises(ConfigError, match="newer StreamForge"):
            await keeping
    with pytest.raises(LeaseLost, match="newer StreamForge"):
        machine.lease.check()


async def test_what_reads_needs_no_lease_and_what_is_alone_none_either() -> None:
    store, clock = MemoryStore(), FakeClock()
    await Machine(store, "holder").lease.take()
    puts = len(store.puts)
    async with managing(store, clock, None) as lease:
        assert lease is None
    assert len(store.puts) == puts
    store.damage(KIND, ID, b'{"format":%d}' % (FORMAT + 1))
    with pytest.raises(ConfigError, match="newer StreamForge"):
        async with managing(store, clock, None):
            pass


async def test_every_change_of_a_fenced_store_is_asked_for_and_nothing_else_is() -> None:
    store, asked = MemoryStore(), 0

    def check() -> None:
        nonlocal asked
        asked += 1

    fenced = FencedStore(store, check)
    await fenced.connect()
    await fenced.upsert("c", [Document("k", 1, b"{}")])
    state = await fenced.put("kind", "id", b"{}", expected=None)
    await fenced.link("e", [Edge("c/k", "c/l")])
    assert asked == 3
    assert [d.key for d in await fenced.read("c")] == list(await fenced.keys("c")) == ["k"]
    assert (await fenced.count("c"), list(await fenced.names())) == (1, ["c"])
    assert await fenced.get("kind", "id") == (await fenced.find("kind"))[0] == state
    assert await fenced.links("e") == [Edge("c/k", "c/l")]
    await fenced.flush("c")
    assert (await fenced.usage()).used_bytes >= 0
    assert asked == 3
    await fenced.remove("kind", "id", expected=state.revision)
    assert await fenced.delete("c", first="k", last="l") == 1
    await fenced.drop("c")
    assert asked == 6
    assert (store.states, store.documents.get("c")) == ({}, None)
    await fenced.close()


async def test_every_renewal_is_another_document() -> None:
    store = MemoryStore()
    machine = Machine(store, "holder")
    await machine.lease.take()
    seen = []
    for _ in range(3):
        await machine.lease.renew()
        kept, _revision = await Installations(store).read()
        assert kept.holder is not None
        seen.append(kept.holder.renewals)
    assert seen == [1, 2, 3]


async def test_a_lease_that_somebody_gave_back_is_lost() -> None:
    store = MemoryStore()
    machine = Machine(store, "holder")
    await machine.lease.take()
    kept, revision = await Installations(store).read()
    await Installations(store).write(msgspec.structs.replace(kept, holder=None), revision)
    with pytest.raises(LeaseLost) as told:
        await machine.lease.renew()
    assert str(told.value) == (
        "the store is managed by nobody now: this manager could not renew its lease in time (it was paused, or the way "
        "to the store was cut) and has stopped acting"
    )


async def test_before_it_is_taken_a_lease_allows_nothing() -> None:
    machine = Machine(MemoryStore(), "early")
    with pytest.raises(RetryableError, match="nothing is done until it is renewed"):
        machine.lease.check()


async def test_a_renewal_that_gets_no_answer_is_given_up_and_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    store, clock = MemoryStore(), ManualClock()
    lease = Lease(store, clock, msgspec.structs.replace(claim("holder"), lease_s=0.3))
    await lease.take()
    asked, hangs = asyncio.Event(), True
    put = store.put

    async def answer(*given: Any, **named: Any) -> object:
        if hangs:
            asked.set()
            await asyncio.Event().wait()
        return await put(*given, **named)

    monkeypatch.setattr(store, "put", answer)
    keeping = asyncio.create_task(lease.keep())
    await clock.sleeping(1)
    clock.advance(0.05)
    await asyncio.wait_for(asked.wait(), LIMIT_S)
    await asyncio.wait_for(clock.sleeping(1), LIMIT_S)  # it was given up, and the next is waited for
    clock.advance(0.2)
    with pytest.raises(RetryableError, match=r"0 s ago \(no answer in time\)"):
        lease.check()
    hangs = False
    clock.advance(0.05)
    await clock.sleeping(1)
    while store.puts[-1:] != [(KIND, ID)] or len(store.puts) < 2:  # noqa: ASYNC110 (a store tells nobody)
        await asyncio.sleep(0.001)
    await asyncio.wait_for(clock.sleeping(1), LIMIT_S)
    lease.check()
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


@pytest.mark.parametrize("trouble", ["silent", "failing"])
async def test_a_store_that_is_away_does_not_keep_a_manager_from_ending(
    trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    machine = Machine(store, "holder")
    await machine.lease.take()

    async def silent(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    if trouble == "silent":
        monkeypatch.setattr(store, "put", silent)
        monkeypatch.setattr(lease_module, "RELEASE_S", 0.01)
    else:
        store.failing = RetryableError("the cable is cut")
    await asyncio.wait_for(machine.lease.release(), LIMIT_S)
    store.failing = None
    assert await holder_of(store) == "holder", "it goes with its time"


async def test_a_release_that_meets_a_renewal_of_its_own_is_made_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    machine = Machine(store, "holder")
    await machine.lease.take()
    asked = 0

    async def conflicting(*_: object, **__: object) -> None:
        nonlocal asked
        asked += 1
        raise ConflictError("it is another by now")

    with monkeypatch.context() as patch:
        patch.setattr(store, "put", conflicting)
        await machine.lease.release()
    assert asked == 2
    await Machine(store, "holder", place="").lease.release()
    assert await holder_of(store) == "holder"
