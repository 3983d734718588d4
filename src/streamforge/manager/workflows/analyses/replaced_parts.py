"""Removes what a graph has replaced: objects that neither its manifest nor the one before it names."""

from __future__ import annotations

import structlog

from streamforge.analytics.graphs.graph_manifest import read_manifest
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.graphs.store import KnownGraph
from streamforge.manager.workflows.analyses.model import graph_of
from streamforge.manager.workflows.analyses.objects import content_of, name_held, objects_of

AT_ONCE = 1000
"""Objects that one proof removes at most; the next one goes on."""
_log = structlog.get_logger(__name__)


async def remove_replaced(deps: Dependencies, known: KnownGraph) -> None:
    """Remove objects of a graph that was just proven. Killed anywhere, it leaves the graph and the one before whole.

    Nothing is removed while another workflow makes the graph, as that one may rely on parts which no manifest names
    yet; nor where the manifest before is not known, as somebody may be reading it. Raises RetryableError, or
    PermanentError: a manifest cannot be read.
    """
    if not known.before:
        return
    objects = objects_of(deps)
    # Held all the while: a workflow that is accepted or retried meanwhile waits for it before it is planned.
    async with name_held(deps, "graph", known.graph):
        others = (one.workflow for one in deps.workflows.live.values() if one.workflow.queue_id != known.queue_id)
        if any((graph := graph_of(one)) is not None and graph.graph == known.graph for one in others):
            return
        kept = set[str]()
        for name in (known.manifest, known.before):
            kept |= read_manifest(await content_of(objects, name), name).object_names
        listed = [one.name async for one in objects.list(f"graphs/{known.graph}/") if one.name not in kept]
        # What names files goes before them: a part that is named is there.
        replaced = sorted(listed, key=lambda name: not name.endswith(".json"))[:AT_ONCE]
        await objects.delete([name for name in replaced if name.endswith(".json")])
        await objects.delete([name for name in replaced if not name.endswith(".json")])
    if replaced:
        _log.info("what a graph has replaced is removed", graph=known.graph, objects=len(replaced))
