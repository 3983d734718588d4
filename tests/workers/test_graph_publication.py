"""A graph that is published keeps its manifest, and is known only with the files that the manifest names."""

from __future__ import annotations

from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

from streamforge.analytics.graphs.graph_manifest import encoded, manifest_name
from streamforge.manager.workflows.analyses.graph_input import GraphInput
from streamforge.manager.workflows.analyses.graph_proof import prove_graph
from streamforge.workers.graph_builder import DEFINITION
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.instrumentation import NullObserver
from tests.analytics.graphs.random_markets import drawn_market
from tests.runtime.rig import QUEUE, last
from tests.workers.test_graph_builder import DAILY, DAYS, SPAN, TYPE, Builder


async def made(folder: Path) -> Builder:
    """A builder that has made its graph."""
    rig, market = Builder(folder), drawn_market(Random(3), DAILY, DAYS * 24)
    await rig.prepare()
    await rig.fill(market)
    await rig.order(market)
    assert await rig.live(DEFINITION) == 0
    return rig


async def test_another_manifest_of_the_same_graph_stays_and_what_to_do_is_told(tmp_path: Path) -> None:
    rig = await made(tmp_path)
    found = await rig.manifest()
    name = manifest_name("g", found.graph_id)
    other = encoded(found).replace(found.sha256.encode(), b"0" * 64)
    await rig.objects.put(name, other)
    rig.environment["STREAMFORGE_ATTEMPT"] = "2"
    assert await rig.live(DEFINITION) == 1
    said = last(await rig.events())[0].error_message or ""
    assert f"object {name} is published already with {len(other)} bytes" in said
    assert "`streamforge graph rm g`, then build it again" in said
    assert b"".join([block async for block in rig.objects.get(name)]) == other
    await rig.close()


async def test_a_graph_with_a_file_of_another_checksum_is_not_known(tmp_path: Path) -> None:
    rig = await made(tmp_path)
    known: list[Any] = []

    async def put(graph: object) -> None:
        known.append(graph)

    graphs = SimpleNamespace(put=put, get=AsyncMock(return_value=None))
    deps: Any = SimpleNamespace(objects=rig.objects, clock=rig.clock, graphs=graphs, observer=NullObserver())
    step = SimpleNamespace(parameters={"stored": "none"})
    workflow: Any = SimpleNamespace(queue_id=QUEUE, span=TimeRange(*SPAN), repairs=0, steps=[step])
    graph = GraphInput(graph="g", definition=DAILY, type=TYPE, symbols=("BTCUSDT",))
    proof = (await prove_graph(deps, workflow, graph)).proof
    assert proof is not None
    assert proof.stored == proof.expected == len(known) * proof.expected
    name = min((await rig.manifest()).file_names)
    content = b"".join([block async for block in rig.objects.get(name)])
    await rig.objects.put(name, content[::-1])
    proof = (await prove_graph(deps, workflow, graph)).proof
    assert proof is not None
    assert proof.stored < proof.expected
    assert len(known) == 1
    await rig.close()
