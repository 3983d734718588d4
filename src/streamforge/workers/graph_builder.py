"""Makes the graphs of assets of stored bars: snapshots as documents with edges, and all of them as Parquet."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated

import msgspec

from streamforge.analytics.packages import require
from streamforge_utils.ports.object_store import DamagedObject
from streamforge_utils.runtime.life.context import Context
from streamforge_utils.runtime.life.worker_definition import Definition, Role, Use

if TYPE_CHECKING:
    from streamforge.analytics.graphs.graph_manifest import PartitionEntry
    from streamforge.analytics.graphs.order import GraphOrder
    from streamforge.analytics.graphs.snapshot import Snapshot

TYPE = "gnn_graph"
PATIENCE_S = 60.0
STEP_MS = 3_600_000
"""So long it may work without a sign of progress, such as another series or part: then it hangs."""
DAY_MS = 86_400_000


class Stored(StrEnum):
    """Which snapshots become documents: one a day, all, or none; all lie in the files."""

    DAILY = "daily"
    ALL = "all"
    NONE = "none"


class GraphBuilderParameters(msgspec.Struct, frozen=True, kw_only=True):
    """What can be chosen for it."""

    stored: Annotated[
        Stored,
        msgspec.Meta(
            description="which snapshots become documents and edges: `daily` (those of midnight UTC), `all` or `none`"
        ),
    ] = Stored.DAILY
    threads: Annotated[
        int, msgspec.Meta(ge=1, le=64, description="threads of the arithmetic; more than 1 may change last digits")
    ] = 1


async def build(ctx: Context[GraphBuilderParameters]) -> None:
    """Make the graph that the order of the workflow names."""
    # Read when the arithmetic is imported: that must not have happened before.
    os.environ |= dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(ctx.parameters.threads)
    )
    require_packages(ctx.parameters)
    from streamforge.analytics.graphs.graph_assembly import GraphBuilder
    from streamforge.analytics.graphs.graph_manifest import manifest_name
    from streamforge.analytics.graphs.order import GraphOrder, Made, made_name, order_name, read_order
    from streamforge.analytics.graphs.stored_bars import read_panel

    name, objects = order_name(ctx.queue_id), _PatientObjects(ctx)
    order = read_order(b"".join([block async for block in objects.get(name)]), name, GraphOrder)

    def works(at: str) -> None:
        ctx.progress.wait("graph", at, ctx.clock.now_ms() + STEP_MS)

    panel = await read_panel(
        ctx.store, order, lambda count: works(f"reading bars: {count} of {len(order.inputs)} series")
    )
    total = len(order.times)
    keeper = _Keeper(ctx, order)
    works(f"making {total} snapshots")

    async def told(entry: PartitionEntry) -> None:
        works(f"making {total} snapshots, the latest part: {entry.name}")
        ctx.progress.records += entry.snapshots
        ctx.progress.position = entry.last_ms
        ctx.progress.share = min(1.0, ctx.progress.records / total)

    builder = GraphBuilder(order.graph, order.definition, objects, keeper.keep, keeper.holds)
    found = await builder.build(panel, order.type, (order.start_ms, order.end_ms), order.runs(), told)
    ctx.progress.wait("graph", None)
    said = Made(manifest=manifest_name(order.graph, found.graph_id), graph_id=found.graph_id)
    await ctx.put_object(made_name(ctx.queue_id), msgspec.json.encode(said), patience_s=PATIENCE_S)
    await ctx.note({"graph_id": found.graph_id, "sha256": found.sha256, "edges": found.edges})
    if not found.edges:
        ctx.log.warning("no snapshot has an edge: prices stand still, holes are many, or a lower threshold is needed")
    ctx.log.info("the graph is made", graph=order.graph, snapshots=found.snapshots, edges=found.edges)


class _PatientObjects:
    """The store of objects, whose calls are tried again while it is away."""

    def __init__(self, ctx: Context[GraphBuilderParameters]) -> None:
        self._ctx = ctx

    async def put(self, name: str, content: bytes) -> None:
        if name.endswith("/manifest.json"):
            graph = name.split("/")[1]
            next_step = (
                f"other versions have made it of the same bars: `streamforge graph rm {graph}`, then build it again"
            )
            await self._ctx.publish_object(name, content, next_step, patience_s=PATIENCE_S)
        else:
            await self._ctx.put_object(name, content, patience_s=PATIENCE_S)

    async def get(self, name: str) -> AsyncIterator[bytes]:
        async def whole() -> bytes | DamagedObject:
            try:
                return b"".join([block async for block in self._ctx.objects.get(name)])
            except DamagedObject as error:
                return error  # trying it again does not help

        found = await self._ctx.with_objects(whole, patience_s=PATIENCE_S)
        if isinstance(found, DamagedObject):
            raise found
        yield found


class _Keeper:
    """Stores snapshots as documents; one that is stored is left alone, and what another one of its moment left goes."""

    def __init__(self, ctx: Context[GraphBuilderParameters], order: GraphOrder) -> None:
        from streamforge.analytics.graphs.graph_documents import GraphDocuments

        self._ctx = ctx
        self._documents = GraphDocuments(order.graph, order.definition, order.inputs)

    def _is_stored(self, time_ms: int) -> bool:
        stored = self._ctx.parameters.stored
        return stored is Stored.ALL or (stored is Stored.DAILY and time_ms % DAY_MS == 0)

    async def holds(self, times: Sequence[int], hashes: Sequence[str]) -> bool:
        told = dict(zip(times, hashes, strict=True))
        wanted = {one for one in times if self._is_stored(one)}
        holds = partial(self._documents.holds, self._ctx.store, told, wanted)
        return await self._ctx.with_store(holds, patience_s=PATIENCE_S)

    async def keep(self, snapshots: Sequence[Snapshot]) -> None:
        # An earlier build that stored more of them may have been of other bars.
        there = partial(self._documents.stored, self._ctx.store, [one.time_ms for one in snapshots])
        known = await self._ctx.with_store(there, patience_s=PATIENCE_S)
        wanted = [one for one in snapshots if self._is_stored(one.time_ms) or one.time_ms in known]
        if wanted:
            keep = partial(self._documents.keep, self._ctx.store, wanted, self._ctx.clock.now_ms())
            await self._ctx.with_store(keep, patience_s=PATIENCE_S)


def require_packages(_: GraphBuilderParameters) -> None:
    """Raises ConfigError that names what is not installed here."""
    require("a graph", {"numpy": "graph", "pyarrow": "graph"})


DEFINITION = Definition(
    target="graph-builder",
    summary="makes graphs of assets of stored bars",
    role=Role.ANALYST,
    types=(TYPE,),
    parameters=GraphBuilderParameters,
    uses=frozenset({Use.STORE, Use.OBJECTS}),
    run=build,
    require=require_packages,
    defaults={"KAFKA_TOPIC": "{QUEUE_ID}-data", "COLLECTION_NAME": "{QUEUE_ID}", "TIME_RANGE": "1970-01-01"},
)
