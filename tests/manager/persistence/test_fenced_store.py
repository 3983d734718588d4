"""A fenced store is the store behind it, but for the question before each change."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, cast

import pytest

from streamforge.manager.persistence import fenced_store
from streamforge.manager.persistence.fenced_store import fenced
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.ports.store import Document, Edge, Store
from tests.doubles.memorystore import MemoryStore

Call = Callable[[Store], Any]
DOCUMENTS, EDGES = [Document("k", 3, b"{}")], [Edge("c/k", "c/l")]
READING: dict[str, Call] = {
    "connect": lambda store: store.connect(),
    "read": lambda store: store.read("c", first="a", last="b", limit=7),
    "keys": lambda store: store.keys("c", first="a", last="b", limit=7),
    "count": lambda store: store.count("c", first="a", last="b"),
    "names": lambda store: store.names(),
    "flush": lambda store: store.flush("c"),
    "get": lambda store: store.get("kind", "id"),
    "find": lambda store: store.find("kind", where={"status": ["x"]}, after="id", limit=7),
    "links": lambda store: store.links("e", source="c/k", destination="c/l"),
    "usage": lambda store: store.usage(),
    "close": lambda store: store.close(),
}
CHANGING: dict[str, Call] = {
    "upsert": lambda store: store.upsert("c", DOCUMENTS),
    "drop": lambda store: store.drop("c"),
    "delete": lambda store: store.delete("c", first="a", last="b"),
    "put": lambda store: store.put("kind", "id", b"{}", expected="r", labels={"status": "x"}, created_ms=7),
    "remove": lambda store: store.remove("kind", "id", expected="r"),
    "link": lambda store: store.link("e", EDGES),
}
SHORTEST: dict[str, Call] = {
    "read": lambda store: store.read("c"),
    "keys": lambda store: store.keys("c"),
    "count": lambda store: store.count("c"),
    "find": lambda store: store.find("kind"),
    "links": lambda store: store.links("e"),
    "put": lambda store: store.put("kind", "id", b"{}", expected=None),
}


class Recording:
    """Takes every call of a store, as its port spells it, with what was left out filled in. Gives `answer`."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.answer = object()

    def __getattr__(self, name: str) -> Any:
        signature = inspect.signature(getattr(Store, name))

        async def take(*given: Any, **named: Any) -> object:
            bound = signature.bind(self, *given, **named)
            bound.apply_defaults()
            self.calls.append((name, {key: value for key, value in bound.arguments.items() if key != "self"}))
            return self.answer

        return take


def recorded(check: Callable[[], None]) -> tuple[Recording, Store]:
    behind = Recording()
    return behind, fenced(cast("Store", behind), check)


def allowed() -> None:
    """Nothing is the matter."""


def refused() -> None:
    raise RetryableError("the lease is lost")


@pytest.mark.parametrize(("name", "call"), [*READING.items(), *CHANGING.items(), *SHORTEST.items()])
async def test_every_call_goes_through_as_it_was_made(name: str, call: Call) -> None:
    behind, store = recorded(allowed)
    plain = Recording()
    await call(store)
    await call(cast("Store", plain))
    assert behind.calls == plain.calls
    assert [called for called, _ in behind.calls] == [name]


@pytest.mark.parametrize("name", READING | CHANGING)
async def test_what_the_store_answers_is_given_out(name: str) -> None:
    behind, store = recorded(allowed)
    assert await (READING | CHANGING)[name](store) is behind.answer


@pytest.mark.parametrize("name", CHANGING)
async def test_no_change_gets_through_without_the_lease(name: str) -> None:
    behind, store = recorded(refused)
    with pytest.raises(RetryableError, match="the lease is lost"):
        await CHANGING[name](store)
    assert behind.calls == []


@pytest.mark.parametrize("name", READING)
async def test_reading_needs_no_lease(name: str) -> None:
    behind, store = recorded(refused)
    await READING[name](store)
    assert len(behind.calls) == 1


def test_no_method_of_a_store_is_left_out() -> None:
    public = {name for name, found in inspect.getmembers(Store, inspect.isfunction) if not name.startswith("_")}
    assert public == READING.keys() | CHANGING.keys()
    assert READING.keys() == fenced_store.READING


def test_how_many_upserts_go_at_once_is_the_store_s_own() -> None:
    assert fenced(MemoryStore(), allowed).upserts_at_once == MemoryStore().upserts_at_once
