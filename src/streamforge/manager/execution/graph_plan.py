"""The plan and the proof of a workflow that makes a graph: what its series have is settled first, and what was made is
looked at once more."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from streamforge.analytics.graphs.manifest import GraphManifest, read_manifest
from streamforge.analytics.graphs.order import Made, made_name, order_name, unsettled
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.failure_codes import FailureCode
from streamforge.manager.graph_input import GraphInput
from streamforge.manager.lifecycle.facts import Awaited, Planned, Proven, Refused
from streamforge.manager.persistence.graph_store import KnownGraph
from streamforge.manager.workflow import Failure, Plan, Proof, Workflow
from streamforge.workers.graph_builder import DAY_MS, GraphBuilderParameters, Stored
from streamforge_utils.model.coverage import Segment, clip
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.registry import series_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.object_store import NoObject, ObjectStore

_SHOWN = 5


async def plan_graph(deps: Dependencies, workflow: Workflow, graph: GraphInput) -> Planned | Awaited | Refused:
    """Wait until what every series has in the range that is seen is proven, then store the order for graph-builder.

    What nobody loads is refused by name. Raises RetryableError.
    """
    objects = _objects(deps)
    batch = None if not graph.batch else await deps.batches.get(graph.batch)
    if batch is not None and not batch.ended:  # hundreds of series are not looked at again and again meanwhile
        return Awaited(f"the end of batch {graph.batch}, which loads its series", deps.clock.now_ms())
    order = graph.order(workflow.span)
    inputs, lacking, awaited = dict[str, list[Segment]](), list[str](), list[str]()
    for symbol in graph.symbols:
        series = series_of(symbol, graph.type)
        known = await deps.coverage.known(series)
        segments = clip(known.segments, order.seen)
        inputs[symbol] = [*segments]
        if (hole := unsettled(inputs[symbol], order.seen)) is not None:
            (awaited if _is_loaded(deps, series, hole) else lacking).append(f"{symbol} {graph.type} {hole}")
    now_ms = deps.clock.now_ms()
    if lacking:
        return Refused(
            Failure(
                code=FailureCode.INPUT_NOT_PROVEN,
                reason=f"it is not proven what {len(lacking)} of {len(graph.symbols)} series have of what the graph "
                f"sees, and nobody loads it: {_some(lacking)}",
                next_step=f"see why batch {graph.batch} has not loaded it, then retry this workflow"
                if batch is not None
                else "load these ranges and retry, or ask for the graph again with load_missing (`--load-missing`)",
            )
        )
    if awaited:
        return Awaited(f"the proof of {_some(awaited)}", now_ms)
    order = msgspec.structs.replace(order, inputs=inputs)
    await objects.put(order_name(workflow.queue_id), msgspec.json.encode(order))
    return Planned(Plan(exchange_now_ms=now_ms, expected=len(order.times), bars=len(order.times)))


async def prove_graph(deps: Dependencies, workflow: Workflow, graph: GraphInput) -> Proven:
    """Look whether all that the manifest names is there, and each snapshot that is a document; then the graph is known.

    Raises RetryableError, or PermanentError: nothing was made.
    """
    objects = _objects(deps)
    made = await _made(objects, workflow)
    manifest = await _manifest(objects, made)
    lacking = 0
    for one in manifest.partitions:
        for file in one.files.values():
            found = await objects.head(file.name)
            if found is None or found.size != file.size:
                lacking += one.snapshots
                break
    order = graph.order(workflow.span)
    kept = _stored_times(workflow, order.times)
    if kept:
        first, last = f"{order.start_ms:013}", f"{order.end_ms:013}"
        there = await deps.store.count(workflow.collection, first=first, last=last)
        lacking = max(lacking, len(kept) - there)
    expected = len(order.times)
    proof = Proof(
        round=workflow.repairs + 1,
        checked_ms=deps.clock.now_ms(),
        expected=expected,
        stored=max(0, min(expected, manifest.snapshots) - lacking),
        segments=(),
    )
    if proof.stored == proof.expected:
        known = KnownGraph(
            graph=graph.graph,
            queue_id=workflow.queue_id,
            graph_id=manifest.graph_id,
            definition_id=graph.definition.id,
            manifest=made.manifest,
            type=graph.type,
            symbols=len(graph.symbols),
            start_ms=manifest.start_ms,
            end_ms=manifest.end_ms,
            snapshots=manifest.snapshots,
            edges=manifest.edges,
            made_ms=deps.clock.now_ms(),
        )
        await deps.graphs.put(known)
    found_graph = msgspec.structs.replace(graph, graph_id=manifest.graph_id, edges=manifest.edges)
    return Proven(proof=proof, asked=True, graph=found_graph)


def _objects(deps: Dependencies) -> ObjectStore:
    if deps.objects is None:
        raise PermanentError("there is no store of objects for graphs: set STREAMFORGE_OBJECTS_URL for the manager")
    return deps.objects


def _is_loaded(deps: Dependencies, series: Series, hole: TimeRange) -> bool:
    """Whether a workflow that goes on loads some of `hole`."""
    live = (one.workflow for one in deps.workflows.live.values())
    return any(
        one.loads_series and one.series == series and one.claimed_span.intersection(hole) is not None for one in live
    )


def _stored_times(workflow: Workflow, times: Sequence[int]) -> Sequence[int]:
    """The moments whose snapshots are documents."""
    parameters = msgspec.convert(workflow.steps[0].parameters, GraphBuilderParameters)
    if parameters.stored is Stored.NONE:
        return ()
    return times if parameters.stored is Stored.ALL else [one for one in times if one % DAY_MS == 0]


async def _made(objects: ObjectStore, workflow: Workflow) -> Made:
    name = made_name(workflow.queue_id)
    try:
        return msgspec.json.decode(b"".join([block async for block in objects.get(name)]), type=Made)
    except (NoObject, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise PermanentError(
            f"the object {name}, which says what was made, cannot be read ({error}): retry it"
        ) from error


async def _manifest(objects: ObjectStore, made: Made) -> GraphManifest:
    try:
        return read_manifest(b"".join([block async for block in objects.get(made.manifest)]), made.manifest)
    except NoObject as error:
        raise PermanentError(f"the manifest {made.manifest} is gone: retry the workflow") from error


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
