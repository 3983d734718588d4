"""What a store says of itself: its format, its exchange, and whether a manager elsewhere drives it."""

from __future__ import annotations

import json

import msgspec
import pytest

from streamforge.manager.engine.refusals import NotNow
from streamforge.manager.origin import Origin
from streamforge.manager.persistence.installation import (
    FORMAT,
    ID,
    KIND,
    SKEW_S,
    Claim,
    ExchangeBinding,
    Installation,
    Installations,
    Place,
    by_others,
)
from streamforge.manager.persistence.lease import Lease
from streamforge_utils.model.errors import ConfigError, OtherExchange, RetryableError
from streamforge_utils.ports.exchange import Identity
from tests.doubles.manualclock import ManualClock
from tests.doubles.memorystore import MemoryStore
from tests.manager.persistence.machines import LEASE_S, SINCE, claim

TESTED, BINANCE = Origin("test", "http://127.0.0.1:4000"), Origin("binance")


def claim_of(origin: Origin | None) -> Claim:
    return Claim(
        name="a manager",
        where="/data",
        elsewhere="choose another folder with --data",
        switch="--exchange ",
        shared=False,
        origin=origin,
    )


async def test_a_store_keeps_to_the_exchange_of_its_data() -> None:
    store = MemoryStore()
    kept = Installation(origin=TESTED.exchange, choice=TESTED.choice)
    await Installations(store).write(kept, None)
    await Installations(store).settle(claim_of(TESTED))
    await Installations(store).settle(claim_of(None))
    assert store.puts == [(KIND, ID)], "a start that changes nothing writes nothing"
    with pytest.raises(ConfigError) as told:
        await Installations(store).settle(claim_of(BINANCE))
    assert str(told.value) == (
        "/data holds data of the test exchange, not of Binance, and the two are never mixed: choose another folder "
        "with --data, or load from the test exchange with --exchange http://127.0.0.1:4000"
    )
    await Installations(store).settle(claim_of(Origin("test", "test")))
    assert (await Installations(store).read())[0] == kept, "only what is accepted says another"


async def test_a_manager_alone_does_not_say_of_which_exchange_a_store_is() -> None:
    store = MemoryStore()
    await Installations(store).settle(claim_of(TESTED))
    await Installations(store).settle(claim_of(BINANCE))
    assert (await Installations(store).read())[0] == Installation()
    assert len(store.puts) == 1


async def test_a_newer_format_is_refused_by_name() -> None:
    store = MemoryStore()
    newer = {"format": FORMAT + 1, "origin": {"now": "a table"}}
    await store.put(KIND, ID, json.dumps(newer).encode(), expected=None)
    with pytest.raises(ConfigError, match=rf"written by a newer StreamForge \(format {FORMAT + 1}; this one knows .*"):
        await Installations(store).read()


async def test_fields_that_a_later_version_added_are_no_obstacle_and_damage_is_named() -> None:
    store = MemoryStore()
    state = await store.put(KIND, ID, b'{"format":1,"origin":"test","later":1}', expected=None)
    assert (await Installations(store).read())[0].origin == "test"
    await store.put(KIND, ID, b'{"origin":5}', expected=state.revision)
    with pytest.raises(ConfigError, match=r"installation/installation of the store is damaged \(.*`format`.*restore"):
        await Installations(store).read()


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


class Answering:
    """An exchange that answers as `name`; None: not at all."""

    def __init__(self, identity: Identity, name: str | None) -> None:
        self._identity, self._name = identity, name

    async def server_time(self) -> int:
        if self._name is None:
            raise RetryableError("no connection")
        self._identity.answered(self._name, "http://127.0.0.1:4000")
        return 0

    def __getattr__(self, name: str) -> object:
        raise AssertionError(name)


class Manager:
    """One life of a manager on `store` that loads from `origin`, whose exchange answers as `name`."""

    def __init__(self, store: MemoryStore, name: str | None, origin: Origin | None = None) -> None:
        self.noted = 0
        self.identity = Identity()
        self.exchange = Answering(self.identity, name)
        claim = Claim(
            name="a manager",
            where="/data",
            elsewhere="choose another folder with --data",
            switch="--exchange ",
            shared=False,
            origin=origin or Origin("test", "http://127.0.0.1:4000"),
            accepted=self._note,
        )
        self.exchange_binding = ExchangeBinding(store, claim, self.identity)

    def _note(self) -> None:
        self.noted += 1

    async def begin(self) -> None:
        await self.exchange_binding.begin(self.exchange)  # type: ignore[arg-type] # all that is asked of it


async def kept(store: MemoryStore) -> Installation:
    return (await Installations(store).read())[0]


async def test_what_is_accepted_first_settles_it_and_another_exchange_is_refused_by_name() -> None:
    store = MemoryStore()
    first = Manager(store, "seed 1")
    await first.begin()
    await first.exchange.server_time()
    assert await kept(store) == Installation(), "nothing was accepted yet"
    await first.exchange_binding.accept()
    known = await kept(store)
    assert (known.origin, known.choice, known.identity) == ("test", "http://127.0.0.1:4000", "seed 1")
    assert (first.noted, first.exchange_binding.expected) == (1, "seed 1")
    await first.exchange_binding.accept()
    assert (first.noted, len(store.puts)) == (1, 1), "said once"
    with pytest.raises(ConfigError) as told:
        await Manager(store, "seed 7").begin()
    assert str(told.value) == (
        "/data holds data of the exchange `seed 1`, not of `seed 7`, which answers now, and the two are never mixed: "
        "choose another folder with --data, or load from the former, e.g. --exchange http://127.0.0.1:4000"
    )
    await Manager(store, "seed 1").begin()


async def test_while_it_refuses_every_call_the_exchange_is_not_asked_and_judged_later() -> None:
    store = MemoryStore()
    first = Manager(store, "seed 1")
    await first.begin()
    await first.exchange.server_time()
    await first.exchange_binding.accept()
    later = Manager(store, "seed 7")
    await later.exchange_binding.begin(later.exchange, ask=False)  # type: ignore[arg-type] # all that is asked of it
    assert (later.identity.met, later.exchange_binding.expected) == (None, "seed 1")
    with pytest.raises(OtherExchange):
        await later.exchange.server_time()


async def test_a_refusal_shows_of_an_exchanges_address_no_path() -> None:
    store = MemoryStore()
    first = Manager(store, "seed 1", Origin("test", "http://127.0.0.1:4000/hush-hush"))
    await first.begin()
    await first.exchange.server_time()
    await first.exchange_binding.accept()
    with pytest.raises(ConfigError, match=r"e\.g\. --exchange http://127\.0\.0\.1:4000$"):
        await Manager(store, "seed 7").begin()


async def test_an_exchange_that_is_away_is_judged_by_its_first_answer_and_its_choice_is_not_remembered() -> None:
    store = MemoryStore()
    first = Manager(store, "seed 1")
    await first.exchange.server_time()
    await first.exchange_binding.accept()
    later = Manager(store, None, Origin("test", "http://127.0.0.1:9"))
    await later.begin()
    await later.exchange_binding.check()
    await later.exchange_binding.accept()
    assert ((await kept(store)).choice, later.noted) == ("http://127.0.0.1:4000", 0)
    with pytest.raises(OtherExchange, match=r"http://127.0.0.1:9 is the exchange `seed 7`, and the data .* `seed 1`"):
        later.identity.answered("seed 7", "http://127.0.0.1:9")
    with pytest.raises(NotNow, match=r"holds data of the exchange `seed 1`, not of `seed 7`, which answers now"):
        await later.exchange_binding.check()
    later.identity.answered("seed 1", "http://127.0.0.1:9")
    await later.exchange_binding.check()
    await later.exchange_binding.accept()
    assert ((await kept(store)).choice, later.noted) == ("http://127.0.0.1:9", 1)


async def test_an_empty_store_is_claimed_also_while_the_exchange_is_away() -> None:
    store = MemoryStore()
    manager = Manager(store, None)
    await manager.begin()
    await manager.exchange_binding.accept()
    assert ((await kept(store)).origin, (await kept(store)).identity, manager.noted) == ("test", None, 1)
    manager.identity.answered("seed 1", "http://127.0.0.1:4000")
    await manager.exchange_binding.accept()
    assert (await kept(store)).identity == "seed 1"


async def test_a_store_without_data_takes_any_test_exchange() -> None:
    store = MemoryStore()
    await Installations(store).write(Installation(origin="test", choice="http://127.0.0.1:4000"), None)
    manager = Manager(store, "seed 7", Origin("test", "http://127.0.0.1:9"))
    await manager.begin()
    assert (await kept(store)).identity is None, "a manager's start alone says nothing"
    await manager.exchange.server_time()
    await manager.exchange_binding.accept()
    assert (await kept(store)).identity == "seed 7"


async def test_an_exchange_without_a_name_is_told_apart_by_its_host_alone() -> None:
    store = MemoryStore()
    manager = Manager(store, "", Origin("binance"))
    await manager.begin()
    manager.identity.answered("", "https://api.binance.com")
    await manager.exchange_binding.accept()
    assert ((await kept(store)).origin, (await kept(store)).identity) == ("binance", None)
    assert manager.exchange_binding.expected is None
