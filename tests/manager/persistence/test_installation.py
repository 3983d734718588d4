"""What a store says of itself: its format, and which exchange its data are of."""

from __future__ import annotations

import json

import pytest

from streamforge.manager.origin import Origin
from streamforge.manager.persistence.installation import FORMAT, ID, KIND, Claim, Installation, Installations
from streamforge_utils.model.errors import ConfigError
from tests.doubles.memorystore import MemoryStore

TESTED, BINANCE = Origin("test", "http://127.0.0.1:4000"), Origin("binance")


def claim(origin: Origin | None) -> Claim:
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
    await Installations(store).settle(claim(TESTED))
    await Installations(store).settle(claim(None))
    assert store.puts == [(KIND, ID)], "a start that changes nothing writes nothing"
    with pytest.raises(ConfigError) as told:
        await Installations(store).settle(claim(BINANCE))
    assert str(told.value) == (
        "/data holds data of the test exchange, not of Binance, and the two are never mixed: choose another folder "
        "with --data, or load from the test exchange with --exchange http://127.0.0.1:4000"
    )
    await Installations(store).settle(claim(Origin("test", "test")))
    assert (await Installations(store).read())[0] == kept, "only what is accepted says another"


async def test_a_manager_alone_does_not_say_of_which_exchange_a_store_is() -> None:
    store = MemoryStore()
    await Installations(store).settle(claim(TESTED))
    await Installations(store).settle(claim(BINANCE))
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
