"""Whether a manager elsewhere drives a store that is only looked at."""

from __future__ import annotations

import msgspec

from streamforge.manager.persistence.driver_status import SKEW_S, Place, by_others
from streamforge.manager.persistence.lease import Lease
from tests.doubles.manualclock import ManualClock
from tests.doubles.memorystore import MemoryStore
from tests.manager.persistence.machines import LEASE_S, SINCE, claim

SHARED = Place(where="the store", driven=lambda: False, shared=True)


async def test_a_folder_is_driven_by_a_manager_that_drives_it() -> None:
    for driven, why in ((True, None), (False, "no manager runs on /d")):
        place = Place(where="/d", driven=lambda driven=driven: driven, shared=False)  # type: ignore[misc]
        assert await by_others(MemoryStore(), ManualClock(), place)() == why


async def test_a_store_is_driven_by_who_holds_its_lease_unless_that_one_only_keeps_others_out() -> None:
    store, clock = MemoryStore(), ManualClock(SINCE)
    ask = by_others(store, clock, SHARED)
    assert await ask() == "no manager drives the store"
    for drives, why in ((True, None), (False, "no manager drives the store, which a command has to itself for now")):
        lease = Lease(store, clock, msgspec.structs.replace(claim("a command"), drives=drives))
        await lease.take()
        assert await ask() == why
        await lease.release()
        assert await ask() == "no manager drives the store"


async def test_a_lease_that_is_not_renewed_drives_nothing() -> None:
    store, clock = MemoryStore(), ManualClock(SINCE)
    await Lease(store, clock, claim("a manager")).take()
    clock.advance(LEASE_S + SKEW_S)
    assert await by_others(store, clock, SHARED)() is None
    clock.advance(0.001)
    assert await by_others(store, clock, SHARED)() == (
        "the manager of the store, a manager, has not renewed its lease since 2024-08-02 12:00:00 UTC"
    )
