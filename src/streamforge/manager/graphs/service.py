"""The use cases of graphs: asked for, listed, read at a moment, and removed."""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec

from streamforge.analytics.graphs.graph_manifest import GraphManifest, read_manifest
from streamforge.analytics.graphs.order import check_graph_name, node_key
from streamforge.manager.admission import Admission
from streamforge.manager.analysis_inputs import AnalysisInputs, nothing_known
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.refusals import NotFound, NotNow
from streamforge.manager.engine.request_notes import log_request
from streamforge.manager.graphs.requests import CheckedGraph, GraphRequest, check_graph, workflow_of_graph
from streamforge.manager.graphs.store import KnownGraph
from streamforge.manager.use_cases import Started
from streamforge.manager.workflows.analyses.graph_input import TYPE, GraphInput
from streamforge.manager.workflows.analyses.model import graph_of
from streamforge.manager.workflows.analyses.objects import name_held
from streamforge_utils.model.errors import DamagedFile, InvalidInput, PermanentError
from streamforge_utils.model.timeranges import format_ms
from streamforge_utils.ports.object_store import NoObject

_END_MS = 10**13 - 1


class GraphAt(NamedTuple):
    """A stored snapshot. nodes: bodies by symbol. edges: source, target, weight; the largest first."""

    time_ms: int
    snapshot: dict[str, Any]
    nodes: dict[str, dict[str, Any]]
    edges: list[tuple[str, str, float]]


class CoinAt(NamedTuple):
    """A coin in a stored snapshot. body: of its node. neighbours: symbol and weight; the largest first, each once."""

    time_ms: int
    body: dict[str, Any]
    neighbours: list[tuple[str, float]]


_KEYS_AT_ONCE = 100_000


class GraphService:
    """Every call raises RetryableError where store or objects do not answer."""

    def __init__(self, deps: Dependencies, admission: Admission, inputs: AnalysisInputs) -> None:
        self._deps = deps
        self._admission = admission
        self._inputs = inputs

    async def start(self, request: GraphRequest, *, idempotency_key: str | None = None) -> Started:
        """Accept the request: on return it is stored. With `load_missing` a batch loads what lacks.

        Raises InvalidInput, KeyReused, or NotFound (the batch).
        """
        checked = check_graph(request, self._deps.clock.now_ms())
        if (known := await self._admission.made_before(request, idempotency_key)) is not None:
            return known
        self._inputs.require_packages(checked.step)
        symbols = await self._inputs.symbols(request.symbols, request.batch, checked.type)
        async with name_held(self._deps, "graph", checked.graph):
            return await self._start(request, checked, symbols, idempotency_key)

    async def _start(
        self, request: GraphRequest, checked: CheckedGraph, symbols: tuple[str, ...], idempotency_key: str | None
    ) -> Started:
        await self._require_own(checked.graph)
        self._require_alike(checked.graph, checked.definition.id)
        known_graph = await self._deps.graphs.get(checked.graph)
        if known_graph is not None and known_graph.definition_id != checked.definition.id:
            raise InvalidInput(
                "graph",
                f"graph {checked.graph} is there with another definition, and its snapshots would lie among these: "
                f"give this one another name, or remove that one first (`streamforge graph rm {checked.graph}`)",
            )
        if known_graph is None:
            await self._require_nothing_left(checked.graph, checked.definition.id)
        batch = request.batch
        if request.load_missing:
            made = GraphInput(graph=checked.graph, definition=checked.definition, type=checked.type, symbols=symbols)
            seen = made.order(checked.span).seen
            batch = await self._inputs.load(symbols, checked.type, seen, checked.labels, idempotency_key) or batch

        def draft(code: str) -> Workflow:
            return workflow_of_graph(checked, symbols, batch, code=code, now_ms=self._deps.clock.now_ms())

        return await self._admission.start_draft(draft, request, idempotency_key)

    def _require_alike(self, graph: str, definition_id: str) -> None:
        """Raises InvalidInput where a workflow makes a graph of that name by another definition."""
        for stored in self._deps.workflows.live.values():
            made = graph_of(stored.workflow)
            if made is not None and made.graph == graph and made.definition.id != definition_id:
                raise InvalidInput(
                    "graph",
                    f"workflow {stored.workflow.queue_id} makes graph {graph} by another definition, and its snapshots "
                    "would lie among these: give this one another name, or stop that workflow and remove its graph",
                )

    async def _require_nothing_left(self, graph: str, definition_id: str) -> None:
        """Raises InvalidInput where a workflow that was not finished has left snapshots of another definition, or it is
        not known of which."""
        latest = await anext(self._deps.workflows.of_series(graph.upper(), TYPE), None)
        made = None if latest is None else graph_of(latest)
        if (made is None or made.definition.id != definition_id) and await self._left(graph):
            told = f"by another definition, of workflow {latest.queue_id}" if latest else "that nobody knows of"
            raise InvalidInput(
                "graph",
                f"there are snapshots of graph {graph} {told}, and they would lie among these: remove them first "
                f"(`streamforge graph rm {graph}`), or give this one another name",
            )

    async def _require_own(self, graph: str) -> None:
        """Raises InvalidInput where a collection of the graph's names holds a series: nothing else may lie there."""
        taken = await self._deps.coverage.by_collection()
        if name := next((one for one in collections_of(graph) if one in taken), None):
            raise InvalidInput("graph", f"collection {name} holds records of a series: give the graph another name")

    async def find(self, *, cursor: str | None = None, limit: int = 100) -> tuple[list[KnownGraph], str | None]:
        """Graphs, and the cursor of the next page."""
        found = await self._deps.graphs.find(after=cursor, limit=limit + 1)
        return [*found[:limit]], found[limit - 1].graph if len(found) > limit else None

    async def get(self, graph: str) -> tuple[KnownGraph, GraphManifest]:
        """The graph as it was last found whole. Raises NotFound, DamagedFile."""
        known, objects = await self._known(graph), self._deps.objects
        try:
            if objects is None:
                raise NoObject(f"there is no store of objects, and {known.manifest} was in one")
            text = b"".join([block async for block in objects.get(known.manifest)])
            return known, read_manifest(text, known.manifest)
        except PermanentError as error:
            raise DamagedFile(f"graph {graph} cannot be read ({error}): build it again") from error

    async def _known(self, graph: str) -> KnownGraph:
        known = await self._deps.graphs.get(check_graph_name(graph))
        if known is not None:
            return known
        raise await nothing_known(self._deps.graphs, "graph", graph)

    async def snapshots(
        self, graph: str, *, start_ms: int, end_ms: int, cursor: str | None = None, limit: int
    ) -> tuple[list[dict[str, Any]], str | None]:
        """The stored snapshots of the half-open range, oldest first; the cursor of the next page. Raises NotFound."""
        known = await self._known(graph)
        first = max(f"{max(0, start_ms):013}", cursor or "")
        last = f"{max(0, end_ms):013}"
        found = await self._deps.store.read(f"{known.graph}_snapshots", first=first, last=last, limit=limit + 1)
        told = [msgspec.json.decode(one.body) for one in found[:limit]]
        return told, found[limit].key if len(found) > limit else None

    async def at(self, graph: str, time_ms: int) -> GraphAt:
        """The latest stored snapshot of that moment or before. Raises NotFound."""
        known, store = await self._known(graph), self._deps.store
        snapshot: dict[str, Any] | None = None
        latest, more = "", True
        while more:
            times = await store.keys(f"{graph}_snapshots", first=latest, last=f"{time_ms + 1:013}", limit=_KEYS_AT_ONCE)
            more = len(times) == _KEYS_AT_ONCE
            latest = times[-1] if times else latest
        for document in await store.fetch(f"{graph}_snapshots", [latest]) if latest else ():
            snapshot = msgspec.json.decode(document.body)
        if snapshot is None:
            first = format_ms(known.start_ms)
            raise NotFound(f"graph {graph} has no stored snapshot at {format_ms(time_ms)} or before; it begins {first}")
        at_ms = int(snapshot["time"])
        symbols = {node_key(symbol, at_ms): symbol for symbol in snapshot["symbols"]}
        bodies = {one.key: one.body for one in await store.fetch(f"{graph}_nodes", [*symbols])}
        nodes = {symbol: msgspec.json.decode(bodies.get(key, b"{}")) for key, symbol in symbols.items()}
        edges = []
        for edge in await store.links_from(f"{graph}_edges", [f"{graph}_nodes/{key}" for key in symbols]):
            ends = [symbols[one.partition("/")[2]] for one in (edge.source, edge.destination)]
            edges.append((ends[0], ends[1], float(msgspec.json.decode(edge.body)["weight"])))
        edges.sort(key=lambda one: (-abs(one[2]), one))
        return GraphAt(at_ms, snapshot, nodes, edges)

    async def path(self, graph: str, symbol: str, *, start_ms: int, end_ms: int, limit: int) -> list[CoinAt]:
        """The coin in the stored snapshots of the half-open range that it takes part in, oldest first.

        Raises NotFound where it takes part in none at all.
        """
        known, store = await self._known(graph), self._deps.store
        nodes, links = f"{known.graph}_nodes", f"{known.graph}_edges"
        first, last, end = (node_key(symbol, max(0, one)) for one in (start_ms, end_ms, _END_MS))
        bodies = [msgspec.json.decode(one.body) for one in await store.read(nodes, first=first, last=last, limit=limit)]
        if not bodies and not await store.keys(nodes, first=node_key(symbol, 0), last=end, limit=1):
            raise NotFound(
                f"no stored snapshot of graph {graph} has a coin {symbol}: GET /graphs/{graph}/at/INSTANT lists the "
                "coins of one"
            )
        ids = [f"{nodes}/{node_key(symbol, body['time'])}" for body in bodies]
        edges = [(one.source, one.destination, one.body) for one in await store.links_from(links, ids)]
        for id in ids:
            arriving = await store.links(links, destination=id)
            edges += [(one.destination, one.source, one.body) for one in arriving]
        joined: dict[str, dict[str, float]] = {id: {} for id in ids}
        for id, other, edge in edges:
            weight, name = float(msgspec.json.decode(edge)["weight"]), _symbol_of(other)
            if abs(weight) >= abs(joined[id].get(name, 0.0)):
                joined[id][name] = weight
        return [
            CoinAt(body["time"], body, sorted(joined[id].items(), key=lambda one: (-abs(one[1]), one)))
            for id, body in zip(ids, bodies, strict=True)
        ]

    async def remove(self, graph: str) -> int:
        """Remove a graph: its documents, edges and objects, though it was not finished, or its removal was not.

        Returns how many objects there were. Raises NotFound, NotNow (a workflow makes it), or InvalidInput (a series
        lies in a collection of its names).
        """
        async with name_held(self._deps, "graph", check_graph_name(graph)):
            return await self._remove(graph)

    async def _remove(self, graph: str) -> int:
        known, objects = await self._deps.graphs.get(graph), self._deps.objects
        names = [] if objects is None else [one.name async for one in objects.list(f"graphs/{graph}/")]
        collections = [*reversed(collections_of(graph))]  # snapshots last: by them it is known that something is left
        if known is None:
            collections = await self._left(graph)
            if not names and not collections:
                raise await nothing_known(self._deps.graphs, "graph", graph)
        for stored in self._deps.workflows.live.values():
            made = graph_of(stored.workflow)
            if made is not None and made.graph == graph:
                raise NotNow(f"workflow {stored.workflow.queue_id} makes graph {graph}: stop it first")
        await self._require_own(graph)  # a load may have been given such a name since
        if known is not None:
            await self._deps.graphs.remove(graph)  # first: a graph that is known is whole
        if objects is not None:
            # What names files goes before them: a part that is named is there.
            await objects.delete([name for name in names if name.endswith(".json")])
            await objects.delete([name for name in names if not name.endswith(".json")])
        for name in collections:
            await self._deps.store.drop(name)
        log_request("remove", graph)
        return len(names)

    async def _left(self, graph: str) -> list[str]:
        """Collections with what a graph that is not known has left. Others may have collections of such names."""
        snapshots, edges, nodes = collections_of(graph)
        found = await self._deps.store.read(snapshots, limit=1)
        ours = any(_SNAPSHOT.fullmatch(one.key) and b'"sha256":' in one.body for one in found)
        at = await self._deps.store.read(nodes, limit=1)
        if not any(_NODE.fullmatch(one.key) and b'"symbol":' in one.body and b'"time":' in one.body for one in at):
            return [snapshots] if ours else []
        return [nodes, edges, *([snapshots] if ours or not found else [])]


_SNAPSHOT, _NODE = re.compile(r"(again-)?\d{13}"), re.compile(r".+_\d{13}")
"""Keys of a graph's documents."""


def _symbol_of(node: str) -> str:
    """Of `GRAPH_nodes/BTCUSDT_1704067200000`."""
    return unquote(node.partition("/")[2].rpartition("_")[0])


def collections_of(graph: str) -> tuple[str, ...]:
    """Of its documents and edges."""
    return f"{graph}_snapshots", f"{graph}_edges", f"{graph}_nodes"
