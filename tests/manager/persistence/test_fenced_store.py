"""A fenced store is the store behind it, but for the question before each change."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from streamforge.manager.persistence.fenced_store import FencedStore
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


def fenced(check: Callable[[], None]) -> tuple[Recording, FencedStore]:
    behind = Recording()
    return behind, FencedStore(behind, check)


def allowed() -> None:
    """Nothing is the matter."""


def refused() -> None:
    raise RetryableError("the lease is lost")


async def both(call: Call) -> tuple[list[tuple[str, dict[str, Any]]], list[tuple[str, dict[str, Any]]], bool]:
    """What arrived behind the fence, what would have without, and whether the answer came through."""
    behind, store = fenced(allowed)
    plain = Recording()
    answer = await call(store)
    await call(plain)
    return behind.calls, plain.calls, answer in (behind.answer, None)


@pytest.mark.parametrize("name", READING | CHANGING)
async def test_every_call_goes_through_as_it_was_made(name: str) -> None:
    through, plain, answered = await both((READING | CHANGING)[name])
    assert through == plain
    assert [called for called, _ in through] == [name]
    assert answered


@pytest.mark.parametrize("name", SHORTEST)
async def test_what_a_caller_leaves_out_is_what_the_port_says(name: str) -> None:
    through, plain, _ = await both(SHORTEST[name])
    assert through == plain


@pytest.mark.parametrize("name", ["read", "keys", "count", "names", "get", "find", "links", "usage"])
async def test_what_was_read_is_given_out(name: str) -> None:
    behind, store = fenced(allowed)
    assert await READING[name](store) is behind.answer


@pytest.mark.parametrize("name", ["upsert", "delete", "put"])
async def test_what_a_change_answers_is_given_out(name: str) -> None:
    behind, store = fenced(allowed)
    assert await CHANGING[name](store) is behind.answer


@pytest.mark.parametrize("name", CHANGING)
async def test_no_change_gets_through_without_the_lease(name: str) -> None:
    behind, store = fenced(refused)
    with pytest.raises(RetryableError, match="the lease is lost"):
        await CHANGING[name](store)
    assert behind.calls == []


@pytest.mark.parametrize("name", READING)
async def test_reading_needs_no_lease(name: str) -> None:
    behind, store = fenced(refused)
    await READING[name](store)
    assert len(behind.calls) == 1


def test_no_method_of_a_store_is_left_out() -> None:
    public = {name for name, found in inspect.getmembers(Store, inspect.isfunction) if not name.startswith("_")}
    assert public == READING.keys() | CHANGING.keys()


def test_how_many_upserts_go_at_once_is_the_store_s_own() -> None:
    assert FencedStore(MemoryStore(), allowed).upserts_at_once == MemoryStore().upserts_at_once
