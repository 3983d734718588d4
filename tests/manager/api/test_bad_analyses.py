"""Bad input of graphs and models, through the API: each refusal names what is wrong, and what to do."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import httpx
import msgspec
import pytest

from streamforge.manager.analyst_services import analyst_services
from streamforge.manager.api.app import create_app
from streamforge.manager.engine.document import Status
from streamforge.manager.engine.lifecycle.findings import Refused
from streamforge.manager.graphs.store import KnownGraph
from streamforge.manager.presentation import workflow_answer
from streamforge.manager.workflows.analyses.graph_input import GraphInput
from streamforge.manager.workflows.analyses.plan import plan_analysis
from streamforge_utils.adapters.object_storage.object_folder import ObjectFolder
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.model.kinds.registry import series_of
from streamforge_utils.ports.exchange import SymbolInfo
from streamforge_utils.ports.store import Document
from tests.manager.api.support import client_of, problem
from tests.manager.memory_service import MemoryService
from tests.manager.support import changed, the_analysis, the_graph

HOUR_MS = 3_600_000
START_MS, HOLE_MS, END_MS = 1_717_200_000_000, 1_721_260_800_000, 1_722_556_800_000  # 2024-06-01, -07-18, -08-02
COINS = ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
TYPE = "api_candles_1h"
DEFINITION = {"window": 24, "top_k": 2}
SHARED = {"symbols": COINS, "type": TYPE, "time_range": "2024-07", "definition": DEFINITION}
ASKED: dict[str, dict[str, Any]] = {
    "graphs": {**SHARED, "graph": "g"},
    "models": {**SHARED, "name": "m", "parameters": {"model": "neighbour_mean"}},
}
BOTH = [*ASKED]
OF_BOTH: list[tuple[dict[str, Any], str, str]] = [
    ({"type": "api_candles_4h", "definition": {**DEFINITION, "interval": "1h"}}, "interval", "change one"),
    ({"definition": {"windows": 9}}, "graph", "unknown field `windows`; the fields are interval, method, window"),
    ({"definition": {"window": 30_000}}, "window", "<= 20000"),
    ({"definition": {"universe": {"colour": 1}}}, "universe", "the fields are min_quote_volume, volume_days"),
]
REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    ("graphs", {"symbols": COINS[:1]}, "symbols", "2 coins or more, and BTCUSDT is all that is named: name others"),
    (
        "models",
        {"symbols": COINS[:2]},
        "symbols",
        "3 coins or more, and BTCUSDT and ETHUSDT is all that is named: name",
    ),
    *[(what, *one) for what in BOTH for one in OF_BOTH],
    (
        "models",
        {"folds": {"tests": 3}},
        "folds",
        "unknown field `tests` - at `$.folds`; the fields are test, least_train",
    ),
    ("models", {"parameters": {"colour": 1}}, "parameters", "'colour' of gnn-trainer is not known: it has "),
]


@pytest.fixture(autouse=True)
def _listed(service: MemoryService) -> None:
    service.exchange.listed = [SymbolInfo(symbol=one, status="TRADING") for one in COINS]


def without(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """As if these were not installed, and all others were."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in packages else object())


@pytest.mark.parametrize(("what", "changes", "field", "words"), REFUSED)
async def test_it_is_refused_before_anything_is_loaded(
    client: httpx.AsyncClient, service: MemoryService, what: str, changes: dict[str, Any], field: str, words: str
) -> None:
    await _refused(client, service, what, changes, field, words)


async def _refused(
    client: httpx.AsyncClient, service: MemoryService, what: str, changes: dict[str, Any], field: str, words: str
) -> None:
    answer = await client.post(f"/{what}", json={**ASKED[what], "load_missing": True, **changes})
    (found,) = problem(answer, 422, "invalid-input")["errors"]
    assert found["field"] == field
    assert words in found["message"]
    assert not await service.ids()
    assert not (await service.batches.find(limit=1))[0]


@pytest.mark.parametrize(
    ("what", "changes", "package", "words"),
    [
        ("graphs", {}, "numpy", "numpy is not installed, which a graph needs: install streamforge-market-data[graph]"),
        ("models", {}, "safetensors", "which model neighbour_mean needs: install streamforge-market-data[models]"),
        ("models", {"parameters": {}}, "torch", "streamforge-market-data[gnn], or take model neighbour_mean"),
        ("models", {"parameters": {"model": "gat"}}, "lightgbm", "lightgbm is not installed, which model gat needs"),
    ],
)
async def test_a_package_that_workers_would_lack_is_named_before_anything_is_loaded(
    client: httpx.AsyncClient,
    service: MemoryService,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    changes: dict[str, Any],
    package: str,
    words: str,
) -> None:
    without(monkeypatch, package)
    await _refused(client, service, what, changes, "parameters", words)


async def test_what_an_image_has_is_not_judged_by_the_manager(
    client: httpx.AsyncClient, service: MemoryService, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "torch")
    service.world.launcher.images["gnn-trainer"] = "registry/gnn-trainer:1"
    answer = await client.post("/models", json={**ASKED["models"], "parameters": {"model": "gat"}})
    assert answer.status_code == 202, answer.text


@pytest.fixture
def objects(service: MemoryService, tmp_path: Any) -> ObjectFolder:
    """Where the manager puts its orders."""
    found = ObjectFolder(tmp_path)
    deps = msgspec.structs.replace(service.world.deps, objects=found)
    service.graphs, service.models = analyst_services(deps, service._starting, service.batches)
    return found


@pytest.mark.parametrize("what", BOTH)
@pytest.mark.parametrize(("hole", "settled"), [(None, False), (Verdict.OURS, False), (Verdict.EXCHANGE, True)])
async def test_a_hole_in_the_middle_is_named_unless_the_exchange_has_it(
    service: MemoryService, objects: ObjectFolder, what: str, hole: Verdict | None, settled: bool
) -> None:
    for symbol in COINS:
        parts = [(START_MS, HOLE_MS, Verdict.STORED), (HOLE_MS + HOUR_MS, END_MS, Verdict.STORED)]
        parts += [(HOLE_MS, HOLE_MS + HOUR_MS, hole or Verdict.STORED)] if hole or symbol != "ETHUSDT" else []
        segments = [Segment(start_ms=first, end_ms=end, verdict=verdict) for first, end, verdict in sorted(parts)]
        await service.know(series_of(symbol, TYPE), segments)
    async with client_of(create_app(service)) as client:
        answer = await client.post(f"/{what}", json=ASKED[what])
    workflow = await service.get(answer.json()["queue_id"])
    deps = msgspec.structs.replace(service.world.deps, objects=objects)
    found = await plan_analysis(deps, workflow, the_analysis(workflow))
    assert isinstance(found, Refused) is not settled
    if isinstance(found, Refused):
        count = 1 if hole is None else 3
        assert f"what {count} of 3 series have of what " in found.failure.reason
        assert "ETHUSDT api_candles_1h 2024-07-18:2024-07-18T01:00Z" in found.failure.reason
        assert found.failure.next_step.startswith("load these ranges and retry")


@pytest.mark.parametrize("what", BOTH)
async def test_a_workflow_says_which_series_it_is_made_of_and_which_batch_loads_them(
    service: MemoryService, client: httpx.AsyncClient, what: str
) -> None:
    one = (await client.post(f"/{what}", json={**ASKED[what], "load_missing": True})).raise_for_status().json()
    [batch] = (await client.get("/batches")).json()["batches"]
    made_of = {"symbols": sorted(COINS), "type": TYPE, "batch": batch["batch_id"]}
    assert one["made_of"] == made_of
    assert (await client.get(f"/queues/{one['queue_id']}")).json()["made_of"] == made_of
    await service.end(one["queue_id"], Status.INTERRUPTED)
    alone = (await client.post(f"/{what}", json=ASKED[what])).raise_for_status().json()
    assert alone["made_of"] == {**made_of, "batch": None}
    series = {"symbol": "BTCUSDT", "type": TYPE, "time_range": "2024-07"}
    assert (await client.post("/queues/start", json=series)).raise_for_status().json()["made_of"] is None


async def test_a_graph_without_an_edge_says_why_that_may_be(service: MemoryService, client: httpx.AsyncClient) -> None:
    answer = await client.post("/graphs", json=ASKED["graphs"])
    workflow = await service.get(answer.json()["queue_id"])
    assert workflow_answer(workflow).remarks == []
    made = msgspec.structs.replace(the_graph(workflow), graph_id="1", edges=0)
    shown = workflow_answer(changed(workflow, made=made))
    assert "no snapshot of graph g has an edge: prices stand still" in shown.remarks[0]
    assert [one.code for one in shown.remark_codes] == ["no-edges"]


async def test_a_graph_is_not_made_where_another_definition_has_taken_its_name_meanwhile(
    service: MemoryService, objects: ObjectFolder, client: httpx.AsyncClient
) -> None:
    answer = await client.post("/graphs", json=ASKED["graphs"])
    workflow = await service.get(answer.json()["queue_id"])
    other = await client.post("/graphs", json={**ASKED["graphs"], "definition": {**DEFINITION, "window": 25}})
    assert (other.status_code, workflow.queue_id in other.text) == (422, True), "it is being made by another definition"
    deps = msgspec.structs.replace(service.world.deps, objects=objects)
    known = KnownGraph(
        graph="g", queue_id="q", graph_id="1", definition_id="2", manifest="m", type=TYPE, symbols=3, start_ms=START_MS,
        end_ms=END_MS, snapshots=1, edges=1, made_ms=END_MS, definition={},
    )  # fmt: skip
    await deps.graphs.put(known)
    with pytest.raises(PermanentError, match="graph g is there with another definition by now"):
        await plan_analysis(deps, workflow, the_analysis(workflow))
    await deps.graphs.remove("g")
    wider = msgspec.structs.replace(the_graph(workflow).definition, window=25)
    retried = changed(
        workflow,
        queue_id="wf-g-gnn_graph-20240701-000009",
        made=msgspec.structs.replace(the_graph(workflow), definition=wider),
        moments=1,
    )
    await deps.workflows.create(retried)
    with pytest.raises(PermanentError, match=f"workflow {retried.queue_id} makes graph g by another definition"):
        await plan_analysis(deps, workflow, the_analysis(workflow))


async def test_of_two_that_are_retried_at_once_under_one_name_one_goes_on(
    service: MemoryService, objects: ObjectFolder, client: httpx.AsyncClient
) -> None:
    deps = msgspec.structs.replace(service.world.deps, objects=objects)
    for kind in ("graphs", "models"):
        answer = await client.post(f"/{kind}", json=ASKED[kind])
        workflow = await service.get(answer.json()["queue_id"])
        made = the_analysis(workflow)
        if isinstance(made, GraphInput):
            wider = msgspec.structs.replace(made.definition, window=25)
            made = msgspec.structs.replace(made, definition=wider)
        other = changed(workflow, queue_id=f"{workflow.queue_id[:-6]}zzzzzz", made=made)
        await deps.workflows.create(other)
        assert isinstance(await plan_analysis(deps, workflow, the_analysis(workflow)), Refused), "of its inputs alone"
        with pytest.raises(PermanentError, match=f"workflow {workflow.queue_id} (makes|trains)"):
            await plan_analysis(deps, other, the_analysis(other))
        again = await client.post(f"/{kind}", json=ASKED[kind])
        assert again.status_code == 422, "nor is a third one begun"


async def test_what_another_definition_has_left_unfinished_is_removed_before_its_name_is_used_again(
    service: MemoryService, objects: ObjectFolder, client: httpx.AsyncClient
) -> None:
    del objects
    other = {**ASKED["graphs"], "definition": {**DEFINITION, "window": 25}}
    queue_id = (await client.post("/graphs", json=ASKED["graphs"])).json()["queue_id"]
    left = msgspec.json.encode({"time": START_MS, "sha256": "0", "symbols": COINS})
    await service.world.deps.store.upsert("g_snapshots", [Document(f"{START_MS:013}", 1, left)])
    await service.end(queue_id, Status.INTERRUPTED)
    refused = problem(await client.post("/graphs", json=other), 422, "invalid-input")
    assert queue_id in refused["detail"]
    assert "`streamforge graph rm g`" in refused["detail"]
    again = await client.post("/graphs", json=ASKED["graphs"])
    assert again.status_code == 202, "by the same definition they are its own"
    await service.end(again.json()["queue_id"], Status.INTERRUPTED)
    assert (await client.delete("/graphs/g")).status_code == 200
    assert (await client.post("/graphs", json=other)).status_code == 202


async def test_what_nobody_knows_of_is_removed_before_its_name_is_used(
    service: MemoryService, objects: ObjectFolder, client: httpx.AsyncClient
) -> None:
    del objects
    left = msgspec.json.encode({"time": START_MS, "sha256": "0", "symbols": COINS})
    await service.world.deps.store.upsert("g_snapshots", [Document(f"{START_MS:013}", 1, left)])
    refused = problem(await client.post("/graphs", json=ASKED["graphs"]), 422, "invalid-input")
    assert "there are snapshots of graph g that nobody knows of" in refused["detail"]


@pytest.mark.parametrize(("what", "name"), [("graphs", "g"), ("models", "m")])
async def test_what_is_asked_for_while_its_name_is_taken_away_waits_for_that(
    service: MemoryService, objects: ObjectFolder, client: httpx.AsyncClient, what: str, name: str
) -> None:
    await objects.put(f"{what}/{name}/1/manifest.json", b"content")
    begun, go, delete = asyncio.Event(), asyncio.Event(), objects.delete

    async def slow(names: Sequence[str]) -> None:
        begun.set()
        await go.wait()
        await delete(names)

    with patch.object(objects, "delete", slow):
        removing = asyncio.create_task(client.delete(f"/{what}/{name}"))
        await begun.wait()
        asking = asyncio.create_task(client.post(f"/{what}", json=ASKED[what]))
        for _ in range(200):
            await asyncio.sleep(0)
        assert await service.ids() == []
        go.set()
        assert ((await removing).status_code, (await asking).status_code) == (200, 202)
    assert len(await service.ids()) == 1


@pytest.mark.parametrize("what", BOTH)
async def test_a_request_that_was_cut_short_is_repeated_under_its_key_though_less_lacks_by_then(
    service: MemoryService, objects: ObjectFolder, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    del objects
    asked = {**ASKED[what], "load_missing": True}
    puts = service.world.store.put

    async def put(kind: str, *args: Any, **fields: Any) -> Any:
        if kind == "workflow":
            raise RetryableError("the store is away")
        return await puts(kind, *args, **fields)

    monkeypatch.setattr(service.world.store, "put", put)
    async with client_of(create_app(service)) as client:
        first = await client.post(f"/{what}", json=asked, headers={"Idempotency-Key": "k"})
        assert first.status_code == 503, first.text
        monkeypatch.undo()
        segments = [Segment(start_ms=START_MS, end_ms=END_MS, verdict=Verdict.STORED)]
        await service.know(series_of(COINS[0], TYPE), segments)
        answers = [await client.post(f"/{what}", json=asked, headers={"Idempotency-Key": "k"}) for _ in range(2)]
        assert [one.status_code for one in answers] == [202, 202], answers[0].text
        assert len({one.json()["queue_id"] for one in answers}) == 1
        batches = (await client.get("/batches")).json()["batches"]
        assert sorted(one["size"] for one in batches) == [2, 3]
