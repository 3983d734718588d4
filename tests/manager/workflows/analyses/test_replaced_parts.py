"""What a graph has replaced is removed, but for what somebody may still read or make."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from streamforge.analytics.graphs.definition import read_definition
from streamforge.analytics.graphs.graph_assembly import GraphBuilder
from streamforge.analytics.graphs.graph_manifest import GraphManifest, SeriesRun, read_manifest
from streamforge.analytics.graphs.order import Made, made_name
from streamforge.analytics.manifest_files import are_intact
from streamforge.manager.graphs import store as graph_store
from streamforge.manager.models.known_store import KnownStore
from streamforge.manager.persistence.named_locks import NamedLocks
from streamforge.manager.workflows.analyses import replaced_parts
from streamforge.manager.workflows.analyses.graph_input import GraphInput
from streamforge.manager.workflows.analyses.graph_proof import prove_graph
from streamforge.manager.workflows.analyses.model import Analysis
from streamforge.manager.workflows.analyses.objects import content_of, name_held
from streamforge_utils.adapters.object_storage.object_folder import ObjectFolder
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.clock import SystemClock
from tests.analytics.graphs.random_markets import DAY_MS, START_MS, drawn_market, panel_of
from tests.doubles.memorystore import MemoryStore
from tests.doubles.observer import RecordingObserver

DAYS = 12
DAILY = read_definition(
    {"interval": "1h", "window": 12, "step": 24, "top_k": 2, "universe": {"min_volatility": 0}},
)
"""Its parts are months: each appended day makes that of its month anew."""
MARKET = drawn_market(Random(3), DAILY, DAYS * 24)


class Killed(BaseException):
    """The manager ends here."""


class Deleting:
    """A folder of objects. left: so many deletions come through until the manager is killed; -1: all."""

    def __init__(self, folder: Path) -> None:
        self.folder = ObjectFolder(folder)
        self.left = -1

    def __getattr__(self, name: str) -> Any:
        return getattr(self.folder, name)

    async def delete(self, names: Sequence[str]) -> None:
        for name in names:
            if not self.left:
                raise Killed
            self.left -= 1
            await self.folder.delete([name])


class Graphs:
    """Builds of one graph, and their proofs. live: the workflows that go on."""

    def __init__(self, folder: Path) -> None:
        self.objects = Deleting(folder)
        self.known = KnownStore(MemoryStore(), graph_store.KIND, graph_store.KnownGraph, "")
        self.live: dict[str, Any] = {}
        self.observer = RecordingObserver()
        self.deps: Any = SimpleNamespace(
            objects=self.objects,
            clock=SystemClock(),
            observer=self.observer,
            graphs=self.known,
            workflows=SimpleNamespace(live=self.live),
            coverage=SimpleNamespace(locks=NamedLocks()),
        )

    def graph(self) -> GraphInput:
        return GraphInput(graph="g", definition=DAILY, type="api_candles_1h", symbols=tuple(MARKET))

    def goes_on(self, queue_id: str, graph: str = "g") -> None:
        made = Analysis(made=msgspec.structs.replace(self.graph(), graph=graph))
        self.live[queue_id] = SimpleNamespace(workflow=SimpleNamespace(queue_id=queue_id, form=made))

    async def build(self, days: int, told: Any = None) -> GraphManifest:
        """What graph-builder does, but for documents. told: as of `GraphBuilder.build`."""

        async def nothing(*_: Any) -> Any:
            return True

        span = (START_MS + 2 * DAY_MS, START_MS + days * DAY_MS)
        inputs = {symbol: [SeriesRun(START_MS, span[1], "stored")] for symbol in MARKET}
        objects: Any = self.objects
        builder = GraphBuilder("g", DAILY, objects, nothing, nothing)
        return await builder.build(panel_of(MARKET, DAILY), "api_candles_1h", span, inputs, told or nothing)

    async def prove(self, found: GraphManifest, queue_id: str = "wf-1") -> None:
        made = Made(manifest=f"graphs/g/{found.graph_id}/manifest.json", graph_id=found.graph_id)
        await self.objects.put(made_name(queue_id), msgspec.json.encode(made))
        step = SimpleNamespace(parameters={"stored": "none"})
        workflow: Any = SimpleNamespace(
            queue_id=queue_id, span=TimeRange(found.start_ms, found.end_ms), repairs=0, steps=[step], collection="g"
        )
        self.goes_on(queue_id)
        try:
            proof = (await prove_graph(self.deps, workflow, self.graph())).proof
        finally:
            del self.live[queue_id]
        assert proof is not None
        assert proof.stored == proof.expected

    async def names(self) -> set[str]:
        return {one.name async for one in self.objects.list("graphs/g/")}

    async def has_what_is_named(self, made: Sequence[GraphManifest]) -> None:
        """Of no graph a file is gone before the manifest and the entry that name it."""
        names = await self.names()
        for one in made:
            assert one.file_names <= names or not (one.object_names - one.file_names) & names

    async def readable(self) -> list[GraphManifest]:
        """The manifests of the graph and of the one before, all of whose files are as they say."""
        known = await self.known.get("g")
        assert known is not None
        found = []
        for name in (known.manifest, known.before):
            manifest = read_manifest(await content_of(self.objects, name), name)
            assert await are_intact(self.objects, [file for one in manifest.partitions for file in one.files.values()])
            found.append(manifest)
        return found


async def test_of_appended_days_the_latest_two_graphs_stay(tmp_path: Path) -> None:
    graphs = Graphs(tmp_path)
    made = []
    for days in range(3, DAYS + 1):
        made.append(await graphs.build(days))
        await graphs.prove(made[-1])
        latest = made[-2:]
        assert await graphs.names() == {name for one in latest for name in one.object_names}
    assert len(made) == 10
    assert len(await graphs.names()) == 10, "of each a manifest, and of its month an entry and three files"
    assert await graphs.readable() == [made[-1], made[-2]]


async def test_a_proof_that_is_done_again_keeps_the_graph_before(tmp_path: Path) -> None:
    graphs = Graphs(tmp_path)
    one, two = await graphs.build(3), await graphs.build(4)
    for found in (one, two, two):
        await graphs.prove(found)
    assert await graphs.readable() == [two, one]


async def test_killed_at_any_deletion_it_leaves_the_graph_whole_and_the_next_proof_removes_the_rest(
    tmp_path: Path,
) -> None:
    left = 0
    while True:
        graphs = Graphs(tmp_path / f"{left}")
        made = []
        for days in (3, 4):
            made.append(await graphs.build(days))
            await graphs.prove(made[-1])
        made.append(await graphs.build(5))
        graphs.objects.left = left
        try:
            await graphs.prove(made[2])
        except Killed:
            assert await graphs.readable() == [made[2], made[1]]
            await graphs.has_what_is_named(made)
            graphs.objects.left = -1
            await graphs.prove(made[2])
            assert await graphs.names() == made[2].object_names | made[1].object_names
            left += 1
        else:
            break
    assert left == 5, "an object for each kill: a manifest, an entry and three files"


async def test_what_another_workflow_is_making_stays_until_no_other_one_makes_the_graph(tmp_path: Path) -> None:
    graphs = Graphs(tmp_path)
    for days in (3, 4):
        await graphs.prove(await graphs.build(days))
    graphs.goes_on("wf-2")
    graphs.goes_on("wf-3", "another")
    before = await graphs.names()

    async def proven_meanwhile(_: Any) -> None:
        """The part is made, and no manifest names it."""
        await graphs.prove(await graphs.build(5))

    late = await graphs.build(6, proven_meanwhile)
    assert before < await graphs.names()
    await graphs.prove(late, "wf-2")
    (latest, _) = await graphs.readable()
    assert latest == late
    assert len(await graphs.names()) == 10


async def test_who_wants_to_make_the_graph_meanwhile_waits_until_all_is_removed(tmp_path: Path) -> None:
    graphs = Graphs(tmp_path)
    for days in (3, 4):
        await graphs.prove(await graphs.build(days))
    order = []
    delete = graphs.objects.delete

    async def another() -> None:
        async with name_held(graphs.deps, "graph", "g"):
            order.append("the other one may be planned")

    async def deleted(names: Sequence[str]) -> None:
        if not order:
            waiting.append(asyncio.create_task(another()))
            await asyncio.sleep(0)
        order.append("deleted")
        await delete(names)

    waiting: list[asyncio.Task[None]] = []
    graphs.objects.delete = deleted  # type: ignore[method-assign]
    await graphs.prove(await graphs.build(5))
    await asyncio.gather(*waiting)
    assert order == ["deleted", "deleted", "the other one may be planned"]


async def test_one_proof_removes_so_many_objects_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = Graphs(tmp_path)
    made = [await graphs.build(days) for days in (3, 4, 5, 6)]
    await graphs.prove(made[2])
    monkeypatch.setattr(replaced_parts, "AT_ONCE", 3)
    counts = []
    for _ in range(4):
        await graphs.prove(made[3])
        counts.append(len(await graphs.names()))
        await graphs.has_what_is_named(made)
    assert counts == [17, 14, 11, 10]


async def test_a_store_of_objects_that_cannot_delete_fails_no_proof(tmp_path: Path) -> None:
    graphs = Graphs(tmp_path)
    made = [await graphs.build(days) for days in (3, 4, 5)]

    async def refused(names: Sequence[str]) -> None:
        raise RetryableError("the store of objects is away")

    graphs.objects.delete = refused  # type: ignore[method-assign]
    for found in made:
        await graphs.prove(found)
    assert await graphs.readable() == [made[2], made[1]]
    assert len(await graphs.names()) == 15
    assert graphs.observer.counts == {"action_failures_total{action=RemoveReplaced}": 2}
