"""A store holds the data of one exchange: which one is settled by the first workflow that is accepted."""

from __future__ import annotations

import pytest

from streamforge.manager.origin import Origin
from streamforge.manager.persistence.exchange_binding import ExchangeBinding
from streamforge.manager.persistence.installation import Claim, Installation, Installations
from streamforge.manager.service import NotNow
from streamforge_utils.model.errors import ConfigError, OtherExchange, RetryableError
from streamforge_utils.ports.exchange import Identity
from tests.doubles.memorystore import MemoryStore


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
