"""A store that takes changes only while its manager may make them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from streamforge_utils.ports.store import Answer, Document, Edge, Labels, State, Store, Usage


class FencedStore:
    """The store, but that `check` is called before each change, and may raise instead. What is read is not asked."""

    def __init__(self, store: Store, check: Callable[[], None]) -> None:
        self._store = store
        self._check = check

    @property
    def upserts_at_once(self) -> int:
        return self._store.upserts_at_once

    async def connect(self) -> None:
        await self._store.connect()

    async def upsert(self, collection: str, documents: Sequence[Document]) -> Sequence[Answer]:
        self._check()
        return await self._store.upsert(collection, documents)

    async def read(
        self, collection: str, *, first: str = "", last: str | None = None, limit: int = 1000
    ) -> Sequence[Document]:
        return await self._store.read(collection, first=first, last=last, limit=limit)

    async def keys(
        self, collection: str, *, first: str = "", last: str | None = None, limit: int = 100_000
    ) -> Sequence[str]:
        return await self._store.keys(collection, first=first, last=last, limit=limit)

    async def count(self, collection: str, *, first: str = "", last: str | None = None) -> int:
        return await self._store.count(collection, first=first, last=last)

    async def names(self) -> Sequence[str]:
        return await self._store.names()

    async def drop(self, collection: str) -> None:
        self._check()
        await self._store.drop(collection)

    async def delete(self, collection: str, *, first: str, last: str) -> int:
        self._check()
        return await self._store.delete(collection, first=first, last=last)

    async def flush(self, collection: str) -> None:
        await self._store.flush(collection)

    async def get(self, kind: str, id: str) -> State | None:
        return await self._store.get(kind, id)

    async def put(
        self, kind: str, id: str, body: bytes, *, expected: str | None, labels: Labels = None, created_ms: int = 0
    ) -> State:
        self._check()
        return await self._store.put(kind, id, body, expected=expected, labels=labels, created_ms=created_ms)

    async def find(
        self, kind: str, *, where: Mapping[str, Sequence[str]] | None = None, after: str | None = None, limit: int = 100
    ) -> Sequence[State]:
        return await self._store.find(kind, where=where, after=after, limit=limit)

    async def remove(self, kind: str, id: str, *, expected: str) -> None:
        self._check()
        await self._store.remove(kind, id, expected=expected)

    async def link(self, collection: str, edges: Sequence[Edge]) -> None:
        self._check()
        await self._store.link(collection, edges)

    async def links(
        self, collection: str, *, source: str | None = None, destination: str | None = None
    ) -> Sequence[Edge]:
        return await self._store.links(collection, source=source, destination=destination)

    async def usage(self) -> Usage:
        return await self._store.usage()

    async def close(self) -> None:
        await self._store.close()
