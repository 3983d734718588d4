"""A store in memory that keeps the port's promises; `failing` makes it unavailable."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from itertools import count
from typing import Any, Unpack

import msgspec

from streamforge_utils.model.documents import check_edge, check_name, refusal
from streamforge_utils.model.errors import ConflictError, InvalidInput
from streamforge_utils.model.series import Series
from streamforge_utils.ports.records import positions_of_keys, values_of_documents
from streamforge_utils.ports.store import Answer, Document, Edge, Labels, Outcome, Selected, State, Usage


class MemoryStore:
    """Every call gives way to other tasks once, before it looks, and again after it has done its work.

    failing: what every call raises. refused: keys that the store does not take. puts: kind and id of each state
    written. flushed: the collections, in the order of the calls. lost_answers: so many writes of a state are made and
    yet raise `failing_after`. said_usage: what `usage` says, where it does not count.
    """

    upserts_at_once = 1

    def __init__(self) -> None:
        self.documents: dict[str, dict[str, Document]] = {}
        self.states: dict[tuple[str, str], State] = {}
        self.edges: dict[str, dict[tuple[str, str], Edge]] = {}
        self.failing: Exception | None = None
        self.refused: set[str] = set()
        self.puts: list[tuple[str, str]] = []
        self.lost_answers = 0
        self.failing_after: Exception | None = None
        self.reads = 0
        self.flushed: list[str] = []
        self.said_usage: Usage | None = None
        self._revisions = count(1)

    async def connect(self) -> None:
        await self._given_way()

    async def upsert(self, collection: str, documents: Sequence[Document]) -> Sequence[Answer]:
        await self._given_way()
        check_name(collection)
        there = self.documents.get(collection, {})
        answers = [self._upsert(there, document) for document in documents]
        if there:
            self.documents[collection] = there
        return answers

    def _upsert(self, there: dict[str, Document], document: Document) -> Answer:
        if document.key in self.refused:
            return Answer(Outcome.REFUSED, "the key is refused")
        if reason := refusal(document.key, document.version, document.body):
            return Answer(Outcome.REFUSED, reason)
        try:
            content = json.loads(document.body)
        except ValueError as error:
            return Answer(Outcome.REFUSED, f"the body of {document.key} is no JSON: {error}")
        old = there.get(document.key)
        if old is not None and json.loads(old.body) == content:
            there[document.key] = msgspec.structs.replace(old, version=max(old.version, document.version))
            return Answer(Outcome.UNCHANGED)
        if old is not None and old.version > document.version:
            return Answer(Outcome.STALE)
        there[document.key] = document
        return Answer(Outcome.STORED)

    async def read(
        self, collection: str, *, first: str = "", last: str | None = None, limit: int = 1000
    ) -> Sequence[Document]:
        await self._given_way()
        there = self.documents.get(collection, {})
        return [there[key] for key in self._within(collection, first, last)][:limit]

    async def values(
        self, collection: str, series: Series, within: range, names: Sequence[str], *, limit: int
    ) -> Sequence[tuple[Any, ...]]:
        return await values_of_documents(self, collection, series, within, names, limit)

    async def positions(self, collection: str, series: Series, within: range, *, limit: int) -> Sequence[int]:
        return await positions_of_keys(self, collection, series, within, limit)

    async def keys(
        self, collection: str, *, first: str = "", last: str | None = None, limit: int = 100_000
    ) -> Sequence[str]:
        await self._given_way()
        return self._within(collection, first, last)[:limit]

    async def present(self, collection: str, keys: Sequence[str]) -> Set[str]:
        await self._given_way()
        return self.documents.get(collection, {}).keys() & set(keys)

    async def fetch(self, collection: str, keys: Sequence[str]) -> Sequence[Document]:
        await self._given_way()
        there = self.documents.get(collection, {})
        return [there[key] for key in sorted(there.keys() & set(keys))]

    async def count(self, collection: str, *, first: str = "", last: str | None = None) -> int:
        await self._given_way()
        return len(self._within(collection, first, last))

    async def names(self) -> Sequence[str]:
        await self._given_way()
        return sorted(self.documents)

    async def drop(self, collection: str) -> None:
        await self._given_way()
        self.documents.pop(collection, None)
        self.edges.pop(collection, None)

    async def delete(self, collection: str, *, first: str, last: str) -> int:
        await self._given_way()
        keys = self._within(collection, first, last)
        for key in keys:
            del self.documents[collection][key]
        return len(keys)

    async def delete_keys(self, collection: str, keys: Sequence[str]) -> None:
        await self._given_way()
        for key in keys:
            self.documents.get(collection, {}).pop(key, None)

    async def flush(self, collection: str) -> None:
        await self._given_way()
        self.flushed.append(collection)

    async def get(self, kind: str, id: str) -> State | None:
        await self._given_way()
        found = self.states.get((kind, id))
        await asyncio.sleep(0)
        return found

    async def get_many(self, kind: str, ids: Sequence[str]) -> Mapping[str, State]:
        await self._given_way()
        await asyncio.sleep(0)
        return {id: self.states[kind, id] for id in ids if (kind, id) in self.states}

    async def put(
        self, kind: str, id: str, body: bytes, *, expected: str | None, labels: Labels = None, created_ms: int = 0
    ) -> State:
        await self._given_way()
        old = self._checked(kind, id, expected)
        state = State(
            id=id,
            revision=str(next(self._revisions)),
            body=body,
            labels=dict(labels if labels is not None else old.labels if old else {}),
            created_ms=created_ms if old is None else old.created_ms,
        )
        self.states[kind, id] = state
        self.puts.append((kind, id))
        if self.lost_answers and self.failing_after is not None:
            self.lost_answers -= 1
            raise self.failing_after
        await asyncio.sleep(0)
        return state

    async def find(
        self, kind: str, *, after: str | None = None, limit: int = 100, **selected: Unpack[Selected]
    ) -> Sequence[State]:
        await self._given_way()
        found = sorted(
            (state for (of, _), state in self.states.items() if of == kind),
            key=lambda state: (state.created_ms, state.id),
            reverse=True,
        )
        if after is not None:
            edge = self.states.get((kind, after))
            if edge is None:
                raise InvalidInput("after", f"there is no {kind} {after}")
            found = [s for s in found if (s.created_ms, s.id) < (edge.created_ms, edge.id)]
        matching = [
            s
            for s in found
            if all(s.labels.get(name) in values for name, values in (selected.get("where") or {}).items())
        ]
        for name, beginnings in (selected.get("begins") or {}).items():
            matching = [s for s in matching if name in s.labels and s.labels[name].startswith(tuple(beginnings))]
        return [state for state in matching if state.id.startswith(selected.get("prefix", ""))][:limit]

    async def tally(self, kind: str, label: str, **selected: Unpack[Selected]) -> Mapping[str, int]:
        found = await self.find(kind, limit=sys.maxsize, **selected)
        return Counter(state.labels[label] for state in found if label in state.labels)

    async def remove(self, kind: str, id: str, *, expected: str) -> None:
        await self._given_way()
        if (kind, id) in self.states:
            self._checked(kind, id, expected)
            del self.states[kind, id]

    async def link(self, collection: str, edges: Sequence[Edge]) -> None:
        await self._given_way()
        check_name(collection)
        for edge in edges:
            check_edge(edge.source, edge.destination, edge.body)
        self.edges.setdefault(collection, {}).update({(edge.source, edge.destination): edge for edge in edges})

    async def links(
        self, collection: str, *, source: str | None = None, destination: str | None = None
    ) -> Sequence[Edge]:
        await self._given_way()
        return [
            edge
            for _, edge in sorted(self.edges.get(collection, {}).items())
            if source in (None, edge.source) and destination in (None, edge.destination)
        ]

    async def links_from(self, collection: str, sources: Sequence[str]) -> Sequence[Edge]:
        await self._given_way()
        return [edge for (source, _), edge in sorted(self.edges.get(collection, {}).items()) if source in sources]

    async def unlink(self, collection: str, sources: Sequence[str]) -> None:
        await self._given_way()
        there = self.edges.get(collection, {})
        for pair in [pair for pair in there if pair[0] in sources]:
            del there[pair]

    async def usage(self) -> Usage:
        await self._given_way()
        documents = (document for there in self.documents.values() for document in there.values())
        return self.said_usage or Usage(used_bytes=sum(len(document.body) for document in documents))

    async def close(self) -> None:
        pass

    def damage(self, kind: str, id: str, body: bytes) -> None:
        """Let the state's body be as given, behind everybody's back."""
        self.states[kind, id] = msgspec.structs.replace(self.states[kind, id], body=body)

    def _checked(self, kind: str, id: str, expected: str | None) -> State | None:
        old = self.states.get((kind, id))
        if (None if old is None else old.revision) != expected:
            raise ConflictError(f"{kind} {id}: it is another by now")
        return old

    def _within(self, collection: str, first: str, last: str | None) -> list[str]:
        return sorted(
            key for key in self.documents.get(collection, {}) if first <= key and (last is None or key < last)
        )

    async def _given_way(self) -> None:
        self.reads += 1
        await asyncio.sleep(0)
        if self.failing is not None:
            raise self.failing
