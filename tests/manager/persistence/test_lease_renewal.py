"""A lease that is held: renewed, lost, given back; on clocks that the tests move."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
import structlog

from streamforge.manager.persistence import lease as lease_module
from streamforge.manager.persistence.installation import FORMAT, ID, KIND, Installations
from streamforge.manager.persistence.lease import Lease, LeaseLost, fenced, managed_store
from streamforge_utils.model.errors import ConfigError, ConflictError, RetryableError
from tests.doubles.clock import FakeClock
from tests.doubles.manualclock import ManualClock
from tests.doubles.memorystore import MemoryStore
from tests.limits import LIMIT_S
from tests.manager.persistence.machines import LEASE_S, SINCE, Machine, claim, holder_of


async def test_a_holder_that_was_paused_acts_no_more_and_ends_once_it_learns_who_has_the_store() -> None:
    store = MemoryStore()
    paused, following = Machine(store, "paused"), Machine(store, "next")
    await paused.lease.take()
    async with paused.alive() as keeping:
        taking = asyncio.create_task(following.lease.take())
        await following.passes(LEASE_S + 1, taking)
        await taking
        guarded = fenced(store, paused.lease.check)
        # It goes on where it stood: before it has asked anybody.
        paused.clock._seconds += LEASE_S
        with pytest.raises(RetryableError, match=r"was last renewed 20 s ago: nothing is done until it is renewed"):
            await guarded.put("workflow", "wf", b"{}", expected=None)
        await paused.passes(LEASE_S, keeping)
        with pytest.raises(LeaseLost, match=r"the store is managed by next, since .* has stopped acting"):
            await keeping
        with pytest.raises(LeaseLost, match="managed by next"):
            await guarded.put("workflow", "wf", b"{}", expected=None)
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
    async with managed_store(store, clock, None) as lease:
        assert lease is None
    assert len(store.puts) == puts
    store.damage(KIND, ID, b'{"format":%d}' % (FORMAT + 1))
    with pytest.raises(ConfigError, match="newer StreamForge"):
        async with managed_store(store, clock, None):
            pass


async def test_every_renewal_is_another_document_until_somebody_gives_the_lease_back() -> None:
    store = MemoryStore()
    machine = Machine(store, "holder")
    with pytest.raises(RetryableError, match="nothing is done until it is renewed"):
        machine.lease.check()  # before it is taken
    await machine.lease.take()
    seen = []
    for _ in range(3):
        machine.clock.advance(2)
        await machine.lease.renew()
        kept, _revision = await Installations(store).read()
        assert kept.holder is not None
        seen.append((kept.holder.renewals, kept.holder.renewed_ms - SINCE))
    assert seen == [(1, 2000), (2, 4000), (3, 6000)]
    kept, revision = await Installations(store).read()
    await Installations(store).write(msgspec.structs.replace(kept, holder=None), revision)
    with pytest.raises(LeaseLost) as told:
        await machine.lease.renew()
    assert str(told.value) == (
        "the store is managed by nobody now: this manager could not renew its lease in time (it was paused, or the way "
        "to the store was cut) and has stopped acting"
    )


async def test_each_time_in_which_the_store_is_away_is_told_once() -> None:
    store = MemoryStore()
    machine = Machine(store, "holder")
    await machine.lease.take()
    with structlog.testing.capture_logs() as logs:
        async with machine.alive():
            for outage in ("first", "second"):
                store.failing = RetryableError(outage)
                await machine.passes(2 * LEASE_S)
                store.failing = None
                await machine.passes(LEASE_S)
    told = [log["error"] for log in logs if log["event"].startswith("the lease on the store could not be renewed")]
    assert told == ["first", "second"]


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
