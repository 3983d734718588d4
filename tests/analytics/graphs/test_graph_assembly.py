"""A graph made part by part: killed anywhere, appended to and repaired it is the one that is made at once."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pyarrow.parquet
import pytest

from streamforge.analytics.graphs.definition import GraphDefinition, read_definition
from streamforge.analytics.graphs.graph_assembly import GraphBuilder
from streamforge.analytics.graphs.graph_manifest import (
    GraphManifest,
    PartitionEntry,
    SeriesRun,
    manifest_name,
    read_manifest,
)
from streamforge.analytics.graphs.panel import Panel
from streamforge.analytics.graphs.snapshot import Snapshot, SnapshotBuilder
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.ports.object_store import NoObject, ObjectInfo
from tests.analytics.graphs.random_markets import DAY_MS, HOUR_MS, START_MS, Market, drawn_market, panel_of

DAYS = 6
SPAN = (START_MS + 2 * DAY_MS, START_MS + DAYS * DAY_MS)
HOURLY = read_definition(
    {"interval": "1h", "window": 12, "step": 6, "top_k": 2, "features": ["return_3"], "universe": {"min_volatility": 0}}
)


class Killed(Exception):
    """The process ends here."""


class Objects:
    """A store of objects in memory, which fails at one of its calls."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.calls = 0
        self.fail_at = -1

    def _call(self) -> None:
        self.calls += 1
        if self.calls == self.fail_at:
            raise Killed

    async def put(self, name: str, content: bytes | Path) -> ObjectInfo:
        self._call()
        assert isinstance(content, bytes)
        self.content[name] = content
        self._call()
        return ObjectInfo(name=name, size=len(content), modified_ms=0)

    async def get(self, name: str, *, start: int = 0) -> AsyncIterator[bytes]:
        self._call()
        if name not in self.content:
            raise NoObject(name)
        yield self.content[name]


class Work:
    """Runs of graph-builder over the same objects. kept: what was stored as documents, by moment."""

    def __init__(self, definition: GraphDefinition = HOURLY) -> None:
        self.definition = definition
        self.objects = Objects()
        self.kept: dict[int, str] = {}
        self.made: list[str] = []

    async def _keep(self, snapshots: Sequence[Snapshot]) -> None:
        self.made += [one.sha256 for one in snapshots]
        self.kept |= {one.time_ms: one.sha256 for one in snapshots}

    async def _holds(self, times: Sequence[int], hashes: Sequence[str]) -> bool:
        return all(self.kept.get(time, "").startswith(start) for time, start in zip(times, hashes, strict=True))

    async def _told(self, entry: PartitionEntry) -> None:
        pass

    def build(self, market: Market, span: tuple[int, int] = SPAN) -> GraphManifest:
        self.made = []
        objects: Any = self.objects
        builder = GraphBuilder("g", self.definition, objects, self._keep, self._holds)
        inputs = {symbol: [SeriesRun(START_MS, span[1], "stored")] for symbol in market}
        panel: Panel = panel_of(market, self.definition)
        return asyncio.run(builder.build(panel, "api_candles_1h", span, inputs, self._told))


@pytest.fixture(scope="module")
def market() -> Market:
    return drawn_market(Random(3), HOURLY, DAYS * 24)


def test_its_files_hold_the_snapshots(market: Market) -> None:
    work = Work()
    found = work.build(market)
    assert read_manifest(work.objects.content[manifest_name("g", found.graph_id)], "m") == found
    assert [one.name for one in found.partitions] == ["2024-01-03", "2024-01-04", "2024-01-05", "2024-01-06"]
    shots = [*SnapshotBuilder(HOURLY).series(panel_of(market, HOURLY), HOURLY.snapshot_times(*SPAN))]
    expected_edges = [
        (one.time_ms, one.symbols[source], one.symbols[target], weight / 1e6)
        for one in shots
        for source, target, weight in zip(*(column.tolist() for column in one.edges), strict=True)
    ]
    edges, nodes, told = (_rows(work, found, table) for table in ("edges", "nodes", "snapshots"))
    assert expected_edges
    assert [tuple(row.values()) for row in edges] == expected_edges
    assert [(row["time"], row["symbol"]) for row in nodes] == [
        (one.time_ms, name) for one in shots for name in one.symbols
    ]
    assert {*nodes[0]} == {"time", "symbol", "return_3", "degree", "strength", "clustering", "pagerank"}
    assert [(row["time"], row["sha256"]) for row in told] == [*work.kept.items()]
    assert (found.snapshots, found.edges) == (len(shots), len(expected_edges))


def _rows(work: Work, found: GraphManifest, table: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for one in found.partitions:
        content = work.objects.content[one.files[table].name]
        part = pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist()
        rows += [row | {"time": round(row["time"].timestamp() * 1000)} for row in part]
    return rows


def test_killed_at_any_call_and_begun_again_it_is_the_same(market: Market) -> None:
    whole = Work()
    expected = whole.build(market)
    for call in range(1, whole.objects.calls + 1):
        work = Work()
        work.objects.fail_at = call
        with pytest.raises(Killed):
            work.build(market)
        found = work.build(market)
        assert msgspec.json.encode(found) == msgspec.json.encode(expected)
        assert work.objects.content == whole.objects.content
        assert work.kept == whole.kept


def test_appended_days_are_made_alone(market: Market) -> None:
    work = Work()
    work.build(market, (SPAN[0], SPAN[1] - DAY_MS))
    appended = work.build(market)
    assert len(work.made) == 4, "the four snapshots of the last day"
    assert appended == Work().build(market)


def test_a_repaired_bar_makes_those_parts_anew_that_see_it(market: Market) -> None:
    symbol = max(market, key=lambda one: len(market[one]))
    at = START_MS + 4 * DAY_MS + 13 * HOUR_MS
    repaired = {**market, symbol: {**market[symbol], at: (123.0, 1e6)}}
    work = Work()
    before = work.build(market)
    found = work.build(repaired)
    assert found == Work().build(repaired)
    assert found.graph_id != before.graph_id
    changed = [one.name for one, old in zip(found.partitions, before.partitions, strict=True) if one.id != old.id]
    assert changed == ["2024-01-05", "2024-01-06"]
    assert len(work.made) == 8


def test_a_bar_that_is_as_it_was_again_brings_its_documents_back(market: Market) -> None:
    work = Work()
    work.build(market)
    before = dict(work.kept)
    symbol = max(market, key=lambda one: len(market[one]))
    work.build({**market, symbol: {**market[symbol], START_MS + 4 * DAY_MS + 13 * HOUR_MS: (123.0, 1e6)}})
    assert work.kept != before
    work.build(market)
    assert work.kept == before
    work.kept.clear()
    work.build(market)
    assert work.kept == before, "documents that are gone are stored again"


def test_another_verdict_is_another_graph_of_the_same_snapshots(market: Market) -> None:
    work = Work()
    one = work.build(market)
    other = work.build({**market, "NONEUSDT": {}})
    assert one.sha256 == other.sha256
    assert one.graph_id != other.graph_id


def test_a_part_that_cannot_be_read_is_made_again(market: Market) -> None:
    work = Work()
    expected = work.build(market)
    damaged = next(name for name in work.objects.content if name.endswith(".json") and "2024-01-04" in name)
    work.objects.content[damaged] = b'{"name": "2024'
    assert work.build(market) == expected
    assert len(work.made) == 4


@pytest.mark.parametrize("damage", ["gone", "cut off", "a bit has changed"])
def test_a_part_whose_file_is_not_whole_is_made_again(market: Market, damage: str) -> None:
    work = Work()
    expected = work.build(market)
    name = next(name for name in work.objects.content if name.endswith("-edges.parquet") and "2024-01-04" in name)
    whole = work.objects.content.pop(name)
    if damage != "gone":
        work.objects.content[name] = b"PAR1" if damage == "cut off" else whole[:-1] + bytes([whole[-1] ^ 1])
    assert work.build(market) == expected
    assert work.objects.content[name] == whole
    assert len(work.made) == 4


@pytest.mark.parametrize("text", [b"", b"\xff", b'{"format": 1}', b'{"format": 7}'])
def test_a_manifest_that_is_none_is_told_by_name(text: bytes) -> None:
    with pytest.raises(PermanentError, match=r"graphs/g/manifest\.json"):
        read_manifest(text, "graphs/g/manifest.json")


def test_of_daily_snapshots_a_part_is_a_month() -> None:
    daily = read_definition({"interval": "1d", "window": 8, "step": 1, "top_k": 1})
    work = Work(daily)
    found = work.build(drawn_market(Random(1), daily, 60), (START_MS, START_MS + 60 * DAY_MS))
    assert [(one.name, one.snapshots) for one in found.partitions] == [("2024-01", 31), ("2024-02", 29)]
