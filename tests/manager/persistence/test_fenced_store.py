"""A fenced store is the store behind it, but for the question before each change."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, cast

import pytest

from streamforge.manager.persistence.fenced_store import READING, fenced
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.ports.store import Store
from tests.doubles.memorystore import MemoryStore

METHODS = {
    name: list(inspect.signature(found).parameters.values())[1:]
    for name, found in inspect.getmembers(Store, inspect.isfunction)
    if not name.startswith("_")
}


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
    assert METHODS.keys() - READING == {"upsert", "drop", "delete", "put", "remove", "link"}
    assert METHODS.keys() >= READING
    assert fenced(MemoryStore(), allowed).upserts_at_once == MemoryStore().upserts_at_once
