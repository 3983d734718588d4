"""The use cases of graphs: asked for, listed, read at a moment, and removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from streamforge.analytics.graphs.definition import GraphDefinition
from streamforge.analytics.graphs.manifest import GraphManifest, read_manifest
from streamforge.analytics.graphs.order import check_graph_name, made_name, order_name, unsettled
from streamforge.manager.admission import Admission
from streamforge.manager.batch import Member
from streamforge.manager.batch_requests import BatchRequest
from streamforge.manager.batch_service import BatchService
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.graph_input import GraphInput
from streamforge.manager.graph_requests import CheckedGraph, GraphRequest, check_graph, check_symbols, workflow_of_graph
from streamforge.manager.persistence.graph_store import KnownGraph
from streamforge.manager.problem_codes import ProblemCode
from streamforge.manager.request_notes import log_request
from streamforge.manager.service import NotFound, NotNow, Started
from streamforge.manager.workflow import SourceChoice, Workflow
from streamforge_utils.model.errors import DamagedFile, InvalidInput, PermanentError
from streamforge_utils.model.kinds.registry import series_of
from streamforge_utils.model.spelling import closest
from streamforge_utils.model.timeranges import format_ms
from streamforge_utils.ports.object_store import NoObject

_NAMES_COMPARED = 1000
_NODES_AT_ONCE = 5000


class GraphAt(NamedTuple):
    """A stored snapshot. nodes: bodies by symbol. edges: source, target, weight; the largest first."""

    time_ms: int
    snapshot: dict[str, Any]
    nodes: dict[str, dict[str, Any]]
    edges: list[tuple[str, str, float]]


class GraphService:
    """Every call raises RetryableError where store or objects do not answer."""

    def __init__(self, deps: Dependencies, admission: Admission, batches: BatchService) -> None:
        self._deps = deps
        self._admission = admission
        self._batches = batches

    async def start(self, request: GraphRequest, *, idempotency_key: str | None = None) -> Started:
        """Accept the request: on return it is stored. With `load_missing` a batch loads what lacks.

        Raises InvalidInput, KeyReused, or NotFound (the batch).
        """
        checked = check_graph(request, self._deps.clock.now_ms())
        if (known := await self._admission.made_before(request, idempotency_key)) is not None:
            return known
        if request.batch:
            batch, symbols = request.batch, await self._of_batch(request.batch, checked)
        else:
            chosen = await self._batches.chooser.choose(request.symbols, checked.type, SourceChoice.AUTO)
            batch, symbols = "", list(chosen.symbols)
        check_symbols(symbols)
        await self._require_own(checked.graph)
        known_graph = await self._deps.graphs.get(checked.graph)
        if known_graph is not None and known_graph.definition_id != checked.definition.id:
            raise InvalidInput(
                "graph",
                f"graph {checked.graph} is there with another definition, and its snapshots would lie among these: "
                f"give this one another name, or remove that one first (`streamforge graph rm {checked.graph}`)",
            )
        if request.load_missing:
            batch = await self._load(checked, symbols, idempotency_key) or batch

        def draft(code: str) -> Workflow:
            return workflow_of_graph(checked, sorted(symbols), batch, code=code, now_ms=self._deps.clock.now_ms())

        return await self._admission.start_draft(draft, request, idempotency_key)

    async def _require_own(self, graph: str) -> None:
        """Raises InvalidInput where a collection of the graph's names holds a series: nothing else may lie there."""
        taken = await self._deps.coverage.by_collection()
        if name := next((one for one in collections_of(graph) if one in taken), None):
            raise InvalidInput("graph", f"collection {name} holds records of a series: give the graph another name")

    async def _of_batch(self, batch: str, checked: CheckedGraph) -> list[str]:
        members: Sequence[Member] = (await self._batches.get(batch)).members
        return [one.symbol for one in members]

    async def _load(self, checked: CheckedGraph, symbols: Sequence[str], key: str | None) -> str | None:
        """The batch that loads what lacks of the series; None: nothing does."""
        graph = GraphInput(
            graph=checked.graph, definition=checked.definition, type=checked.type, symbols=tuple(symbols)
        )
        seen, lacking = graph.order(checked.span).seen, []
        for symbol in symbols:
            known = await self._deps.coverage.known(series_of(symbol, checked.type))
            if unsettled([*known.segments], seen) is not None:
                lacking.append(symbol)
        if not lacking:
            return None
        request = BatchRequest(
            symbols=tuple(lacking), type=checked.type, time_range=str(seen), labels={**checked.labels}
        )
        started = await self._batches.start(request, idempotency_key=None if key is None else f"{key}-inputs")
        return started.view.batch.batch_id

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
        names = [one.graph for one in await self._deps.graphs.find(limit=_NAMES_COMPARED)]
        near = closest(graph, names)
        meant = f"did you mean {next(iter(near))}?" if near else "GET /graphs lists those that there are"
        raise NotFound(f"there is no graph {graph}: {meant}", meant=[*near], code=ProblemCode.NOT_FOUND)

    async def snapshots(self, graph: str, *, start_ms: int, end_ms: int, limit: int) -> list[dict[str, Any]]:
        """The stored snapshots of the half-open range, oldest first, without their coins. Raises NotFound."""
        known = await self._known(graph)
        found = await self._deps.store.read(
            f"{known.graph}_snapshots", first=f"{max(0, start_ms):013}", last=f"{max(0, end_ms):013}", limit=limit
        )
        return [msgspec.json.decode(one.body) for one in found]

    async def at(self, graph: str, time_ms: int) -> GraphAt:
        """The latest stored snapshot of that moment or before. Raises NotFound."""
        known, store = await self._known(graph), self._deps.store
        snapshot: dict[str, Any] | None = None
        step_ms = known.end_ms - known.start_ms
        times = await store.keys(f"{graph}_snapshots", last=f"{time_ms + 1:013}", limit=100_000)
        if times:
            (document,) = await store.read(f"{graph}_snapshots", first=times[-1], limit=1)
            snapshot = msgspec.json.decode(document.body)
        if snapshot is None or step_ms <= 0:
            first = format_ms(known.start_ms)
            raise NotFound(f"graph {graph} has no stored snapshot at {format_ms(time_ms)} or before; it begins {first}")
        at_ms = int(snapshot["time"])
        keys = [f"{symbol}_{at_ms:013}" for symbol in snapshot["symbols"]]
        nodes = {}
        for key, symbol in zip(keys, snapshot["symbols"], strict=True):
            found = await store.read(f"{graph}_nodes", first=key, last=f"{key}~", limit=1)
            nodes[symbol] = msgspec.json.decode(found[0].body) if found else {}
        edges = []
        for edge in await store.links_from(f"{graph}_edges", [f"{graph}_nodes/{key}" for key in keys]):
            ends = [one.partition("/")[2].rpartition("_")[0] for one in (edge.source, edge.destination)]
            edges.append((ends[0], ends[1], float(msgspec.json.decode(edge.body)["weight"])))
        edges.sort(key=lambda one: (-abs(one[2]), one))
        return GraphAt(at_ms, snapshot, nodes, edges)

    async def remove(self, graph: str) -> int:
        """Remove a graph: its documents, edges and objects; returns how many objects there were.

        Raises NotFound, NotNow (a workflow makes it), or InvalidInput (a series lies in a collection of its names).
        """
        known, objects = await self._known(graph), self._deps.objects
        for stored in self._deps.workflows.live.values():
            if stored.workflow.graph is not None and stored.workflow.graph.graph == graph:
                raise NotNow(f"workflow {stored.workflow.queue_id} makes graph {graph}: stop it first")
        await self._require_own(graph)  # a load may have been given such a name since
        await self._deps.graphs.remove(known.graph)  # first: a graph that is known is whole
        for name in collections_of(graph):
            await self._deps.store.drop(name)
        removed = 0
        if objects is not None:
            names = [one.name async for one in objects.list(f"graphs/{graph}/")]
            await objects.delete(names)
            removed = len(names)
        log_request("remove", graph)
        return removed

    async def forget(self, workflow: Workflow) -> None:
        """Remove what a workflow that made a graph was told, and has told of it; the graph stays."""
        if workflow.graph is not None and self._deps.objects is not None:
            await self._deps.objects.delete([order_name(workflow.queue_id), made_name(workflow.queue_id)])


def collections_of(graph: str) -> tuple[str, ...]:
    """Of its documents and edges."""
    return f"{graph}_snapshots", f"{graph}_edges", f"{graph}_nodes"


def definition_fields(definition: GraphDefinition) -> dict[str, Any]:
    """The definition as JSON has it."""
    found: dict[str, Any] = msgspec.to_builtins(definition)
    return found
