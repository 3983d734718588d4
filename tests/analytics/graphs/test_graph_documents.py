"""The documents of a graph, whatever ends who stores them."""

from __future__ import annotations

from collections.abc import Collection
from itertools import count
from random import Random
from typing import Any

import pytest

from streamforge.analytics.graphs.definition import read_definition
from streamforge.analytics.graphs.graph_documents import GraphDocuments, snapshot_key
from streamforge.analytics.graphs.snapshot import Snapshot, SnapshotBuilder
from streamforge_utils.model.errors import RetryableError
from tests.analytics.graphs.random_markets import DAY_MS, START_MS, Market, drawn_market, panel_of
from tests.doubles.memorystore import MemoryStore

HOURLY = read_definition({"interval": "1h", "window": 12, "step": 12, "top_k": 2, "universe": {"min_volatility": 0}})
AT = (START_MS + 3 * DAY_MS, START_MS + 3 * DAY_MS + DAY_MS // 2)


class Dying(MemoryStore):
    """Fails at one of the calls that change something, half done: the process is gone, or the store is."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.fails_at = 0, -1
        for name in ("upsert", "delete_keys", "link", "unlink"):
            setattr(self, name, self._counted(getattr(self, name)))

    def _counted(self, change: Any) -> Any:
        async def counted(*args: Any, **fields: Any) -> Any:
            self.calls += 1
            if self.calls == self.fails_at:
                collection, items = args
                await change(collection, items[: len(items) // 2])
                raise RetryableError("gone")
            return await change(*args, **fields)

        return counted


def snapshots_of(market: Market) -> list[Snapshot]:
    return [*SnapshotBuilder(HOURLY).series(panel_of(market, HOURLY), [*AT])]


async def state_of(store: MemoryStore) -> tuple[dict[str, bytes], Collection[str], Collection[tuple[str, str, bytes]]]:
    nodes = {one.key: one.body for one in await store.read("g_nodes", limit=10_000)}
    snapshots = [one.key for one in await store.read("g_snapshots", limit=10_000)]
    edges = sorted((one.source, one.destination, one.body) for one in await store.links("g_edges"))
    return nodes, snapshots, edges


@pytest.mark.parametrize("again", ["the same attempt", "another attempt"])
async def test_made_again_of_fewer_coins_nothing_of_others_is_left_wherever_it_ends(again: str) -> None:
    market = drawn_market(Random(3), HOURLY, 5 * 24)
    gone = sorted(snapshots_of(market)[0].symbols)[0]
    fewer = {symbol: bars for symbol, bars in market.items() if symbol != gone}
    expected = MemoryStore()
    await GraphDocuments("g", HOURLY, fewer).keep(expected, snapshots_of(fewer), 2)
    for fails_at in count(1):
        store = Dying()
        await GraphDocuments("g", HOURLY, market).keep(store, snapshots_of(market), 1)
        documents = GraphDocuments("g", HOURLY, fewer)
        store.calls, store.fails_at = 0, fails_at
        try:
            await documents.keep(store, snapshots_of(fewer), 2)
        except RetryableError:
            if again == "another attempt":
                documents = GraphDocuments("g", HOURLY, fewer)
            await documents.keep(store, snapshots_of(fewer), 3)
        assert await state_of(store) == await state_of(expected)
        assert (await state_of(store))[1] == [snapshot_key(time_ms) for time_ms in AT]
        if store.calls < fails_at:
            assert fails_at > 8, "each call has failed once"
            return
