"""The graphs that there are: of each name the latest one that was found whole."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from streamforge_utils.model.errors import ConflictError, DamagedFile, RetryableError
from streamforge_utils.ports.store import StateStore

KIND = "graph"
_ROUNDS = 10


class KnownGraph(msgspec.Struct, frozen=True, kw_only=True):
    """A graph as it was last made. manifest: the name of the object. symbols: how many series it is of.

    start_ms, end_ms: the half-open range of its snapshots. made_ms: when it was found whole.
    """

    graph: str
    queue_id: str
    graph_id: str
    definition_id: str
    manifest: str
    type: str
    symbols: int
    start_ms: int
    end_ms: int
    snapshots: int
    edges: int
    made_ms: int


class GraphStore:
    """Every call raises RetryableError where the store does not answer."""

    def __init__(self, store: StateStore) -> None:
        self._store = store

    async def put(self, known: KnownGraph) -> None:
        """Let this be the latest of its name."""
        body = msgspec.json.encode(known)
        for _ in range(_ROUNDS):
            state = await self._store.get(KIND, known.graph)
            if state is not None and state.body == body:
                return
            try:
                expected = None if state is None else state.revision
                await self._store.put(KIND, known.graph, body, expected=expected, created_ms=known.made_ms)
                return
            except ConflictError:
                continue
        raise RetryableError(f"the graph {known.graph} is changed again and again by others; try again")

    async def get(self, graph: str) -> KnownGraph | None:
        """The latest of that name. Raises DamagedFile."""
        state = await self._store.get(KIND, graph)
        return None if state is None else _read(graph, state.body)

    async def find(self, *, after: str | None = None, limit: int = 100) -> Sequence[KnownGraph]:
        """Graphs, the latest name first."""
        return [_read(one.id, one.body) for one in await self._store.find(KIND, after=after, limit=limit)]

    async def remove(self, graph: str) -> None:
        """Forget the graph; one that is not there is no error."""
        state = await self._store.get(KIND, graph)
        if state is not None:
            await self._store.remove(KIND, graph, expected=state.revision)


def _read(graph: str, body: bytes) -> KnownGraph:
    try:
        return msgspec.json.decode(body, type=KnownGraph)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DamagedFile(f"what is known of graph {graph} cannot be read ({error}): build it again") from error
