"""The routes of graphs, on a graph of two snapshots in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from streamforge.analytics.graphs.order import node_key
from streamforge.manager.analyst_services import analyst_services
from streamforge.manager.api.app import create_app
from streamforge.manager.graphs.store import KnownGraph
from streamforge_utils.adapters.object_storage.object_folder import ObjectFolder
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.ports.store import Document, Edge
from tests.manager.api.support import DAY_MS, START_MS, client_of, problem
from tests.manager.memory_service import MemoryService

NEXT_MS = START_MS + DAY_MS
FOREIGN = "币安人生USDT"
COINS = {START_MS: ["AUSDT", "BUSDT", "CUSDT"], NEXT_MS: ["AUSDT", "BUSDT", FOREIGN]}
LINKS = {
    START_MS: [("AUSDT", "BUSDT", -0.75), ("BUSDT", "AUSDT", 0.5), ("CUSDT", "AUSDT", 0.6)],
    NEXT_MS: [(FOREIGN, "AUSDT", -0.25)],
}
DEFINITION = {"interval": "1h", "top_k": 2}


@pytest.fixture(autouse=True)
async def _stored(service: MemoryService) -> None:
    store = service.world.deps.store
    for time_ms, symbols in COINS.items():
        nodes = [
            _document(node_key(symbol, time_ms), {"symbol": symbol, "time": time_ms, "degree": place})
            for place, symbol in enumerate(symbols)
        ]
        await store.upsert("g_nodes", nodes)
        edges = [
            Edge(_node(source, time_ms), _node(target, time_ms), msgspec.json.encode({"weight": weight}))
            for source, target, weight in LINKS[time_ms]
        ]
        await store.link("g_edges", edges)
        shot = {"time": time_ms, "sha256": "0", "symbols": symbols, "edges": 1, "tree_length": None, "turnover": None}
        await store.upsert("g_snapshots", [_document(f"{time_ms:013}", shot)])
    known = KnownGraph(
        graph="g",
        queue_id="wf-g",
        graph_id="1",
        definition_id="2",
        manifest="m",
        type="api_candles_1h",
        symbols=4,
        start_ms=START_MS,
        end_ms=NEXT_MS + DAY_MS,
        snapshots=2,
        edges=4,
        made_ms=NEXT_MS,
        definition=DEFINITION,
    )
    await service.world.deps.graphs.put(known)


def _node(symbol: str, time_ms: int) -> str:
    return f"g_nodes/{node_key(symbol, time_ms)}"


def _document(key: str, body: dict[str, Any]) -> Document:
    return Document(key, 1, msgspec.json.encode(body))


async def moments(client: httpx.AsyncClient, symbol: str, **query: str | int) -> list[dict[str, Any]]:
    answer = (await client.get(f"/graphs/g/coins/{symbol}", params=query)).raise_for_status().json()
    assert (answer["graph"], answer["symbol"]) == ("g", symbol)
    return list(answer["moments"])


async def test_the_list_tells_how_each_graph_is_defined(client: httpx.AsyncClient) -> None:
    [found] = (await client.get("/graphs")).json()["graphs"]
    assert (found["graph"], found["definition"]) == ("g", DEFINITION)


async def test_the_path_of_a_coin_joins_edges_of_both_directions_each_other_coin_once(
    client: httpx.AsyncClient,
) -> None:
    first, second = await moments(client, "AUSDT")
    assert (first["at"], first["time"], first["values"]) == ("2024-08-01T00:00:00Z", START_MS, {"degree": 0})
    assert first["joined"] == 2
    assert first["neighbours"] == [{"symbol": "BUSDT", "weight": -0.75}, {"symbol": "CUSDT", "weight": 0.6}]
    assert second["neighbours"] == [{"symbol": FOREIGN, "weight": -0.25}]


async def test_the_path_has_the_range_and_the_limits_that_are_asked_for(client: httpx.AsyncClient) -> None:
    [early] = await moments(client, "AUSDT", time_range="2024-08-01", neighbours=1)
    assert (early["joined"], [one["symbol"] for one in early["neighbours"]]) == (2, ["BUSDT"])
    [late] = await moments(client, "AUSDT", time_range="2024-08-02:2024-08-03")
    assert late["time"] == NEXT_MS
    assert [one["time"] for one in await moments(client, "AUSDT", limit=1)] == [START_MS]
    assert await moments(client, "CUSDT", time_range="2024-08-02") == []


async def test_symbols_of_any_script_are_named_as_they_are(client: httpx.AsyncClient) -> None:
    [found] = await moments(client, FOREIGN)
    assert found["neighbours"] == [{"symbol": "AUSDT", "weight": -0.25}]
    moment = (await client.get("/graphs/g/at/2024-08-02")).json()
    assert moment["nodes"][2] == {"symbol": FOREIGN, "values": {"degree": 2}}
    assert moment["links"] == [{"source": FOREIGN, "target": "AUSDT", "weight": -0.25}]


async def test_a_coin_or_a_graph_that_is_not_there_is_named(client: httpx.AsyncClient) -> None:
    for symbol in ("AUSD", "X"):
        body = problem(await client.get(f"/graphs/g/coins/{symbol}"), 404, "not-found")
        assert f"no stored snapshot of graph g has a coin {symbol}" in body["detail"]
    assert "did you mean g" in problem(await client.get("/graphs/gg/coins/AUSDT"), 404, "not-found")["detail"]


class _Failing(ObjectFolder):
    """Fails to delete a second time."""

    deletions = 0

    async def delete(self, names: Sequence[str]) -> None:
        self.deletions += 1
        if self.deletions == 2:
            raise RetryableError("the store of objects is away")
        await super().delete(names)


async def test_a_removal_that_was_cut_short_is_gone_on_with_and_leaves_no_part_that_names_what_is_gone(
    service: MemoryService, tmp_path: Path
) -> None:
    objects = _Failing(tmp_path)
    deps = msgspec.structs.replace(service.world.deps, objects=objects)
    service.graphs, _ = analyst_services(deps, service._starting, service.batches)
    for name in ("1/manifest.json", "parts/2024-01-a.json", "parts/2024-01-a-edges.parquet"):
        await objects.put(f"graphs/g/{name}", b"content")
    async with client_of(create_app(service)) as client:
        assert (await client.delete("/graphs/g")).status_code == 503
        assert [one.name async for one in objects.list()] == ["graphs/g/parts/2024-01-a-edges.parquet"]
        assert (await client.get("/graphs")).json()["graphs"] == []
        assert (await client.delete("/graphs/g")).json() == {"graph": "g", "objects_removed": 1}
        assert [one async for one in objects.list()] == []
        for what in ("snapshots", "edges", "nodes"):
            assert await service.world.deps.store.count(f"g_{what}") == 0
        assert (await client.delete("/graphs/g")).status_code == 404


async def test_collections_of_others_are_no_leftover_of_a_graph(service: MemoryService) -> None:
    store = service.world.deps.store
    kept = {"shop_snapshots": "1722470400000", "shop_nodes": "a_1722470400000", "shop_edges": "b"}
    for name, key in kept.items():
        await store.upsert(name, [_document(key, {"stock": 1})])
    async with client_of(create_app(service)) as client:
        assert (await client.delete("/graphs/shop")).status_code == 404
    assert [await store.count(name) for name in kept] == [1, 1, 1]
