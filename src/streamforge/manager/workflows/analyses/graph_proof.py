"""The proof of a workflow that makes a graph: what was made is looked at once more."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from streamforge.analytics.graphs.graph_manifest import GraphManifest, read_manifest
from streamforge.analytics.graphs.order import Made
from streamforge.analytics.manifest_files import are_there
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.form import next_proof
from streamforge.manager.engine.lifecycle.findings import Proven
from streamforge.manager.graphs.store import KnownGraph
from streamforge.manager.retention.maintenance import tried_again_later
from streamforge.manager.workflows.analyses.graph_input import GraphInput
from streamforge.manager.workflows.analyses.objects import content_of, made_by, objects_of
from streamforge.manager.workflows.analyses.replaced_parts import remove_replaced
from streamforge.workers.graph_builder import DAY_MS, GraphBuilderParameters, Stored
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.ports.object_store import NoObject, ObjectStore

_KEYS_AT_ONCE = 2000


async def prove_graph(deps: Dependencies, workflow: Workflow, graph: GraphInput) -> Proven:
    """Look whether all that the manifest names is there, and each snapshot that is a document; then the graph is known.

    Objects that it has replaced are removed then. Raises RetryableError, or PermanentError: nothing was made.
    """
    objects = objects_of(deps)
    made = await made_by(objects, workflow)
    manifest = await _manifest(objects, made)
    lacking = 0
    for one in manifest.partitions:
        lacking += 0 if await are_there(objects, one.files.values()) else one.snapshots
    order = graph.order(workflow.span)
    kept = _stored_times(workflow, order.times)
    there = 0
    for first in range(0, len(kept), _KEYS_AT_ONCE):
        keys = [f"{one:013}" for one in kept[first : first + _KEYS_AT_ONCE]]
        there += len(await deps.store.present(workflow.collection, keys))
    lacking = max(lacking, len(kept) - there)
    expected = len(order.times)
    stored = max(0, min(expected, manifest.snapshots) - lacking)
    proof = next_proof(workflow, deps.clock.now_ms(), expected=expected, stored=stored)
    if proof.is_whole:
        replaced = await deps.graphs.get(graph.graph)
        known = KnownGraph(
            graph=graph.graph,
            queue_id=workflow.queue_id,
            graph_id=manifest.graph_id,
            definition_id=graph.definition.id,
            manifest=made.manifest,
            before=_before(replaced, made.manifest),
            type=graph.type,
            symbols=len(graph.symbols),
            start_ms=manifest.start_ms,
            end_ms=manifest.end_ms,
            snapshots=manifest.snapshots,
            edges=manifest.edges,
            made_ms=deps.clock.now_ms(),
            definition=msgspec.to_builtins(graph.definition),
        )
        await deps.graphs.put(known)
        with tried_again_later(deps.observer, "RemoveReplaced", graph=graph.graph):
            await remove_replaced(deps, known)
    found_graph = msgspec.structs.replace(graph, graph_id=manifest.graph_id, edges=manifest.edges)
    return Proven(proof=proof, asked=True, more=found_graph)


def _before(replaced: KnownGraph | None, manifest: str) -> str:
    """The manifest that `manifest` takes the place of; a proof that is done again changes nothing."""
    if replaced is None:
        return ""
    return replaced.before if replaced.manifest == manifest else replaced.manifest


def _stored_times(workflow: Workflow, times: Sequence[int]) -> Sequence[int]:
    """The moments whose snapshots are documents."""
    parameters = msgspec.convert(workflow.steps[0].parameters, GraphBuilderParameters)
    if parameters.stored is Stored.NONE:
        return ()
    return times if parameters.stored is Stored.ALL else [one for one in times if one % DAY_MS == 0]


async def _manifest(objects: ObjectStore, made: Made) -> GraphManifest:
    try:
        return read_manifest(await content_of(objects, made.manifest), made.manifest)
    except NoObject as error:
        raise PermanentError(f"the manifest {made.manifest} is gone: retry the workflow") from error
