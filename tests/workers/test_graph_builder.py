"""graph-builder on the embedded store and a folder of objects: what it makes of stored bars."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from streamforge.analytics.graphs.definition import read_definition
from streamforge.analytics.graphs.graph_manifest import GraphManifest, manifest_name, read_manifest
from streamforge.analytics.graphs.order import (
    GraphOrder,
    order_name,
)
from streamforge.analytics.graphs.snapshot import SnapshotBuilder
from streamforge.workers.graph_builder import DEFINITION
from streamforge_utils.adapters.object_storage.object_folder import ObjectFolder
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.model.kinds.registry import kind_of, series_of
from streamforge_utils.ports.store import Document
from streamforge_utils.runtime.telemetry.instruments import ProgressTracker
from tests.analytics.graphs.random_markets import DAY_MS, START_MS, Market, drawn_market, panel_of
from tests.doubles import faulty
from tests.runtime.rig import QUEUE, Rig, last

TYPE = "api_candles_1h"
DAYS = 5
SPAN = (START_MS + 2 * DAY_MS, START_MS + DAYS * DAY_MS)
DAILY = read_definition(
    {
        "interval": "1h",
        "window": 12,
        "step": 12,
        "top_k": 2,
        "features": ["return_30"],
        "universe": {"min_volatility": 0},
    }
)


class Builder(Rig):
    """A graph-builder, and the store with the bars that it reads."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for name in ("STREAMFORGE_UPSTREAM", "KAFKA_TOPIC", "COLLECTION_NAME", "TIME_RANGE"):
            del self.environment[name]
        self.environment |= {"SYMBOL": "G", "TYPE": "gnn_graph"}
        self.objects = ObjectFolder(folder / "objects")

    async def fill(self, market: Market, version: int = 1) -> None:
        for symbol, bars in market.items():
            series = series_of(symbol, TYPE)
            kind = kind_of(series)
            documents = [
                Document(kind.key(series, time), version, msgspec.json.encode(_candle(symbol, time, *bar)))
                for time, bar in bars.items()
            ]
            await self.stored.upsert("bars", documents)

    async def order(self, market: Market, **changes: Any) -> GraphOrder:
        inputs = {symbol: _segments(bars) for symbol, bars in market.items()}
        made = GraphOrder(graph="g", definition=DAILY, type=TYPE, start_ms=SPAN[0], end_ms=SPAN[1], inputs=inputs)
        made = msgspec.structs.replace(made, **changes)
        await self.objects.put(order_name(QUEUE), msgspec.json.encode(made))
        return made

    async def manifest(self) -> GraphManifest:
        event, progress = last(await self.events())
        assert (event.event, progress.share) == ("finished", 1)
        name = manifest_name("g", (event.extra or {})["graph_id"])
        return read_manifest(b"".join([block async for block in self.objects.get(name)]), name)

    async def documents(self, what: str) -> dict[str, Any]:
        return {one.key: json.loads(one.body) for one in await self.stored.read(f"g_{what}", limit=10_000)}

    async def pairs(self) -> dict[tuple[str, str], float]:
        found = await self.stored.links("g_edges")
        return {(one.source, one.destination): json.loads(one.body)["weight"] for one in found}


def _candle(symbol: str, time: int, close: float, volume: float) -> dict[str, Any]:
    amounts = ("volume", "taker_buy_base_asset_volume", "taker_buy_quote_asset_volume")
    prices = dict.fromkeys(("open", "high", "low", "close"), close)
    return {
        "symbol": symbol,
        "interval": "1h",
        "open_time": time,
        **prices,
        **dict.fromkeys(amounts, 1.0),
        "close_time": time + 3_599_999,
        "quote_asset_volume": volume,
        "number_of_trades": 1,
    }


def _segments(bars: dict[int, tuple[float, float]]) -> list[Segment]:
    """What is stored, and holes that the exchange has."""
    found = []
    for time in range(START_MS, SPAN[1], 3_600_000):
        there = time in bars
        verdict, collection = (Verdict.STORED, "bars") if there else (Verdict.EXCHANGE, None)
        found.append(
            Segment(start_ms=time, end_ms=time + 3_600_000, verdict=verdict, collection=collection, records=int(there))
        )
    return found


@pytest.fixture(scope="module")
def market() -> Market:
    return drawn_market(Random(3), DAILY, DAYS * 24)


async def test_snapshots_become_files_and_those_of_midnight_documents(tmp_path: Path, market: Market) -> None:
    rig = Builder(tmp_path)
    await rig.prepare()
    await rig.fill(market)
    await rig.order(market)
    assert await rig.live(DEFINITION) == 0
    found = await rig.manifest()
    assert (found.snapshots, found.type, sorted(found.inputs)) == (6, TYPE, sorted(market))
    times = [*DAILY.snapshot_times(*SPAN)]
    shots = {one.time_ms: one for one in SnapshotBuilder(DAILY).series(panel_of(market, DAILY), times)}
    told = await rig.documents("snapshots")
    assert {*map(int, told)} == {time for time in times if time % DAY_MS == 0}
    for time, one in told.items():
        assert one["sha256"] == shots[int(time)].sha256
    nodes, pairs = await rig.documents("nodes"), await rig.pairs()
    expected = {}
    for key in map(int, told):
        shot = shots[key]
        assert {name for name in nodes if name.endswith(str(key))} == {f"{name}_{key}" for name in shot.symbols}
        for source, target, weight in zip(*(column.tolist() for column in shot.edges), strict=True):
            ends = [f"g_nodes/{shot.symbols[place]}_{key}" for place in (source, target)]
            expected[ends[0], ends[1]] = weight / 1e6
    assert pairs == expected
    assert len(pairs) > 10
    some = next(iter(nodes.values()))
    assert {*some} == {"symbol", "time", "return_30", "degree", "strength", "clustering", "pagerank"}
    await rig.close()


async def test_two_attempts_at_once_leave_what_one_makes(tmp_path: Path, market: Market) -> None:
    found = []
    for attempts in (1, 2):
        rigs = [Builder(tmp_path / f"{attempts}") for _ in range(attempts)]
        for number, rig in enumerate(rigs, 1):
            rig.environment |= {"STREAMFORGE_STORED": "all", "STREAMFORGE_ATTEMPT": f"{number}"}
            await rig.prepare()
        await rigs[0].fill(market)
        await rigs[0].order(market)
        assert await asyncio.gather(*(rig.live(DEFINITION) for rig in rigs)) == [0] * attempts
        told = [await rigs[0].documents(what) for what in ("nodes", "snapshots")]
        found.append((await rigs[0].manifest(), told, await rigs[0].pairs()))
        for rig in rigs:
            await rig.close()
    assert found[0] == found[1]
    assert len(found[0][2]) > 30


async def test_done_again_it_stores_nothing_anew_and_a_repaired_bar_replaces_what_saw_it(
    tmp_path: Path, market: Market
) -> None:
    rig = Builder(tmp_path)
    await rig.prepare()
    await rig.fill(market)
    await rig.order(market)
    assert await rig.live(DEFINITION) == 0
    first, before, told = await rig.manifest(), await rig.pairs(), await rig.documents("snapshots")
    rig.environment["STREAMFORGE_ATTEMPT"] = "2"
    assert await rig.live(DEFINITION) == 0
    assert await rig.manifest() == first
    symbol = max(market, key=lambda one: len(market[one]))
    at = SPAN[0] + DAY_MS + 3_600_000
    repaired = {**market, symbol: {**market[symbol], at: (1.0, 1e6)}}
    await rig.fill(repaired, version=2)
    await rig.order(repaired)
    rig.environment["STREAMFORGE_ATTEMPT"] = "3"
    assert await rig.live(DEFINITION) == 0
    changed, now = await rig.manifest(), await rig.documents("snapshots")
    assert [one.id == old.id for one, old in zip(changed.partitions, first.partitions, strict=True)] == [
        True,
        False,
        False,
    ]
    assert [one["sha256"] == told[key]["sha256"] for key, one in now.items()] == [True, True, False]
    late = str(SPAN[0] + 2 * DAY_MS)
    after = await rig.pairs()
    assert {pair: after[pair] for pair in after if late not in pair[0]} == {
        pair: before[pair] for pair in before if late not in pair[0]
    }
    (shot,) = SnapshotBuilder(DAILY).series(panel_of(repaired, DAILY), [int(late)])
    assert len([pair for pair in after if late in pair[0]]) == len(shot.edges.sources)
    await rig.close()


@pytest.mark.parametrize("repaired", [True, False], ids=["of other bars", "of the same bars"])
async def test_a_build_that_stores_fewer_snapshots_leaves_none_of_other_bars(
    tmp_path: Path, market: Market, repaired: bool
) -> None:
    rig = Builder(tmp_path)
    await rig.prepare()
    await rig.fill(market)
    await rig.order(market)
    rig.environment["STREAMFORGE_STORED"] = "all"
    assert await rig.live(DEFINITION) == 0
    before = await rig.documents("snapshots")
    assert len(before) == 6
    symbol = max(market, key=lambda one: len(market[one]))
    changed = {**market, symbol: {**market[symbol], SPAN[0] + 3_600_000: (1.0, 1e6)}} if repaired else market
    await rig.fill(changed, version=2)
    await rig.order(changed)
    rig.environment |= {"STREAMFORGE_STORED": "daily", "STREAMFORGE_ATTEMPT": "2"}
    assert await rig.live(DEFINITION) == 0
    shots = SnapshotBuilder(DAILY).series(panel_of(changed, DAILY), [*DAILY.snapshot_times(*SPAN)])
    hashes = {f"{one.time_ms:013}": one.sha256 for one in shots}
    found = {key: one["sha256"] for key, one in (await rig.documents("snapshots")).items()}
    assert found == hashes
    assert (found == {key: one["sha256"] for key, one in before.items()}) is not repaired
    await rig.close()


async def test_fewer_bars_than_were_proven_are_told_by_name(tmp_path: Path, market: Market) -> None:
    rig = Builder(tmp_path)
    await rig.prepare()
    symbol = min(market)
    bars = [*market[symbol].items()]
    await rig.fill({**market, symbol: dict(bars[:60] + bars[63:])})
    await rig.order(market)
    assert await rig.live(DEFINITION) == 1
    event, _ = last(await rig.events())
    assert event.event == "error"
    assert f"bars holds 0 bars of {symbol}" in (event.error_message or "")
    assert not await rig.documents("snapshots")
    await rig.close()


async def test_a_window_that_is_longer_than_the_data_is_told(tmp_path: Path, market: Market) -> None:
    rig = Builder(tmp_path)
    await rig.prepare()
    await rig.fill(market)
    definition = msgspec.structs.replace(DAILY, window=500)
    before = Segment(start_ms=START_MS - 40 * DAY_MS, end_ms=START_MS, verdict=Verdict.CLOSED)
    inputs = {symbol: [before, *_segments(bars)] for symbol, bars in market.items()}
    await rig.order(market, definition=definition, inputs=inputs)
    assert await rig.live(DEFINITION) == 1
    event, _ = last(await rig.events())
    assert "a window of 500 returns asks for 451 bars" in (event.error_message or "")
    assert "choose a shorter window" in (event.error_message or "")
    await rig.close()


class Refusing:
    """A store of objects that takes `left` objects more."""

    def __init__(self, objects: Any, left: int, error: Exception) -> None:
        self._objects, self._left, self._error = objects, left, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects, name)

    async def put(self, name: str, content: bytes, **more: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise self._error
        return await self._objects.put(name, content, **more)


@pytest.mark.parametrize("left", range(13))
async def test_objects_that_are_refused_leave_no_graph_that_is_known(
    tmp_path: Path, market: Market, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    rig = Builder(tmp_path)
    await rig.prepare()
    await rig.fill(market)
    await rig.order(market)
    refusing = Refusing(rig.objects, left, PermanentError("the bucket is full: make room"))
    monkeypatch.setattr(rig, "make_object_store", lambda *_: refusing)
    assert await rig.live(DEFINITION) == 1
    event, _ = last(await rig.events())
    assert "the bucket is full: make room" in (event.error_message or "")
    there = [one.name async for one in rig.objects.list()]
    assert not [name for name in there if name.endswith(("-made.json", "manifest.json"))]
    for name in there:
        if name.endswith(".json") and "/parts/" in name:
            content = b"".join([block async for block in rig.objects.get(name)])
            assert {file["name"] for file in json.loads(content)["files"].values()} <= {*there}
    monkeypatch.undo()
    rig.environment["STREAMFORGE_ATTEMPT"] = "2"
    assert await rig.live(DEFINITION) == 0
    assert (await rig.manifest()).snapshots == 6
    await rig.close()


@pytest.mark.e2e
async def test_objects_that_are_away_for_a_while_cost_nothing(
    tmp_path: Path, market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Builder(tmp_path)
    await rig.prepare()
    await rig.fill(market)
    await rig.order(market)
    flaky = Flaky(rig.objects)
    monkeypatch.setattr(rig, "make_object_store", lambda *_: flaky)
    assert await rig.live(DEFINITION) == 0
    assert (await rig.manifest()).snapshots == 6
    assert flaky.refused
    await rig.close()


class Flaky:
    """A store of objects of which the first put of each object, and the first read, finds nobody."""

    def __init__(self, objects: Any) -> None:
        self._objects = objects
        self.refused: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects, name)

    def _once(self, name: str) -> None:
        if name not in self.refused:
            self.refused.add(name)
            raise RetryableError("the server of objects is away")

    async def put(self, name: str, content: bytes, **more: Any) -> Any:
        self._once(name)
        return await self._objects.put(name, content, **more)

    async def get(self, name: str, *, start: int = 0) -> Any:
        self._once(f"read {name}")
        async for block in self._objects.get(name, start=start):
            yield block


async def test_a_store_that_fails_for_a_while_costs_nothing(tmp_path: Path, market: Market) -> None:
    rig = Builder(tmp_path)
    await rig.prepare()
    await rig.fill(market)
    await rig.order(market)
    rig.store.upserting = faulty.times(2, "the store is away")
    assert await rig.live(DEFINITION) == 0
    assert len(await rig.documents("snapshots")) == 3
    await rig.close()


async def test_what_it_is_at_is_told_with_each_series_and_part_so_that_it_is_not_taken_for_hung(
    tmp_path: Path, market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Builder(tmp_path)
    await rig.prepare()
    await rig.fill(market)
    await rig.order(market)
    told: list[tuple[str | None, bool]] = []
    wait = ProgressTracker.wait

    def waits(self: ProgressTracker, who: str, reason: str | None, until_ms: int | None = None) -> None:
        if who == "graph":
            told.append((reason, until_ms is not None and until_ms > rig.clock.now_ms()))
        wait(self, who, reason, until_ms)

    monkeypatch.setattr(ProgressTracker, "wait", waits)
    assert await rig.live(DEFINITION) == 0
    reading = [(f"reading bars: {count} of {len(market)} series", True) for count in range(len(market))]
    parts = (await rig.manifest()).partitions
    making = [(f"making 6 snapshots, the latest part: {one.name}", True) for one in parts]
    assert told == [*reading, ("making 6 snapshots", True), *making, (None, False)]
    await rig.close()


async def test_without_numpy_it_says_what_to_install(
    tmp_path: Path, market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Builder(tmp_path)
    await rig.prepare()
    await rig.order(market)
    for name in [name for name in sys.modules if name.startswith("streamforge.analytics")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "numpy", None)
    assert await rig.live(DEFINITION) == 2
    event, _ = last(await rig.events())
    assert "streamforge-market-data[graph]" in (event.error_message or "")
    await rig.close()
