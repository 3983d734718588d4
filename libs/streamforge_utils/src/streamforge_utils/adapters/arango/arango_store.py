"""The store on ArangoDB: documents, states and edges in one database, shared by any number of processes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence

from streamforge_utils.adapters.arango.arango_collections import STATES, Catalogue
from streamforge_utils.adapters.arango.arango_documents import Documents
from streamforge_utils.adapters.arango.arango_errors import IN_GRAPH
from streamforge_utils.adapters.arango.arango_states import States
from streamforge_utils.adapters.arango.arango_transport import Retries, Transport
from streamforge_utils.adapters.arango.connection import Connection
from streamforge_utils.adapters.arango.graph import Edges
from streamforge_utils.adapters.arango.server_version import Server
from streamforge_utils.adapters.arango.store_usage import usage
from streamforge_utils.model.documents import check_name
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.ports.clock import Clock, SystemClock
from streamforge_utils.ports.instrumentation import NullObserver, Observer
from streamforge_utils.ports.store import Answer, Document, Edge, Labels, State, Usage, count_outcomes


class ArangoStore:
    """Documents, states and edges in the database of `connection`.

    What was answered survives the death of any process; states, and documents after `flush`, power loss as well.
    Counts `store_documents` (by outcome), `store_write_seconds` and `store_retries_total` (by reason).
    """

    def __init__(
        self,
        connection: Connection,
        *,
        clock: Clock | None = None,
        observer: Observer | None = None,
        retries: Retries | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._observer = observer or NullObserver()
        self._transport = Transport(
            connection,
            clock=clock or SystemClock(),
            observer=self._observer,
            retries=retries or Retries(),
            jitter=jitter,
        )
        self._server = Server(self._transport)
        self._catalogue = Catalogue(self._transport)
        self._documents = Documents(self._transport, self._server, self._catalogue)
        self._states = States(self._transport, self._catalogue)
        self._edges = Edges(self._transport, self._catalogue)

    @property
    def upserts_at_once(self) -> int:
        return 2  # the second is made ready while the server stores the first

    async def connect(self) -> None:
        await self._server.version()

    async def upsert(self, collection: str, documents: Sequence[Document]) -> Sequence[Answer]:
        """See `DocumentStore.upsert`. Raises PermanentError for an illegal collection name."""
        _check(collection)
        if not documents:
            return []
        began = time.perf_counter()
        answers = await self._documents.upsert(collection, documents)
        self._observer.count("store_write_seconds", time.perf_counter() - began)
        for outcome, number in count_outcomes(answers).items():
            self._observer.count("store_documents", number, outcome=outcome.value)
        return answers

    async def read(
        self, collection: str, *, first: str = "", last: str | None = None, limit: int = 1000
    ) -> Sequence[Document]:
        _check(collection)
        return [] if limit <= 0 else await self._documents.read(collection, first, last, limit)

    async def keys(
        self, collection: str, *, first: str = "", last: str | None = None, limit: int = 100_000
    ) -> Sequence[str]:
        _check(collection)
        return [] if limit <= 0 else await self._documents.keys(collection, first, last, limit)

    async def count(self, collection: str, *, first: str = "", last: str | None = None) -> int:
        _check(collection)
        return await self._documents.count(collection, first, last)

    async def names(self) -> Sequence[str]:
        await self._server.version()
        return await self._catalogue.names()

    async def drop(self, collection: str) -> None:
        _check(collection)
        if await self._catalogue.drop(collection) == IN_GRAPH:
            await self._edges.take_out(collection)
            if await self._catalogue.drop(collection) == IN_GRAPH:
                raise PermanentError(
                    f"the collection {collection} belongs to a graph that StreamForge did not make: "
                    "take it out of that graph, then drop it"
                )

    async def delete(self, collection: str, *, first: str, last: str) -> int:
        _check(collection)
        return await self._documents.delete(collection, first, last)

    async def flush(self, collection: str) -> None:
        _check(collection)
        await self._documents.flush(collection)

    async def get(self, kind: str, id: str) -> State | None:
        await self._server.version()
        return await self._states.get(kind, id)

    async def put(
        self, kind: str, id: str, body: bytes, *, expected: str | None, labels: Labels = None, created_ms: int = 0
    ) -> State:
        return await self._states.put(kind, id, body, expected=expected, labels=labels, created_ms=created_ms)

    async def find(
        self, kind: str, *, where: Mapping[str, Sequence[str]] | None = None, after: str | None = None, limit: int = 100
    ) -> Sequence[State]:
        """See `StateStore.find`. Raises InvalidInput if the state `after` was removed."""
        await self._server.version()
        return await self._states.find(kind, where=where, after=after, limit=limit)

    async def remove(self, kind: str, id: str, *, expected: str) -> None:
        await self._states.remove(kind, id, expected=expected)

    async def link(self, collection: str, edges: Sequence[Edge]) -> None:
        _check(collection)
        await self._edges.link(collection, edges)

    async def links(
        self, collection: str, *, source: str | None = None, destination: str | None = None
    ) -> Sequence[Edge]:
        _check(collection)
        return await self._edges.links(collection, source, destination)

    async def usage(self) -> Usage:
        return await usage(self._transport, self._server)

    async def close(self) -> None:
        """Close the connections. A second call does nothing."""
        await self._transport.close()


def _check(collection: str) -> None:
    if check_name(collection) == STATES:
        raise PermanentError(f"collection name {STATES!r} is StreamForge's own: choose another")
