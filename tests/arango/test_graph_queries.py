"""The queries of docs/how-to/graphs.md give what the snapshots say."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from streamforge.analytics.graphs.definition import read_definition
from streamforge.analytics.graphs.graph_documents import GraphDocuments
from streamforge.analytics.graphs.snapshot import Snapshot, SnapshotBuilder
from tests.analytics.graphs.random_markets import DAY_MS, START_MS, drawn_market, panel_of
from tests.arango.servers import Databases
from tests.contracts.arango import make
from tests.doubles.arangoprocess import ask
from tests.places import ROOT

DEFINITION = read_definition(
    {"interval": "4h", "window": 12, "step": 6, "top_k": 2, "sign": "any", "universe": {"min_volatility": 0}}
)
DAYS = 40
DAY = 1_724_112_000_000
COINS = ("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "ADAUSDT", "XRPUSDT")
Rows = list[Any]


@pytest.fixture(scope="module")
def shots() -> Sequence[Snapshot]:
    """Snapshots of forty days around that of the page."""
    random = Random(5)
    while len(market := drawn_market(random, DEFINITION, 6 * DAYS)) < len(COINS):
        pass
    moved = DAY - 25 * DAY_MS - START_MS
    named = {
        name: {time + moved: bar for time, bar in bars.items()}
        for name, bars in zip(COINS, market.values(), strict=False)
    }
    panel = panel_of(named, DEFINITION)
    times = DEFINITION.snapshot_times(DAY - 20 * DAY_MS, DAY + 14 * DAY_MS)
    return [*SnapshotBuilder(DEFINITION).series(panel, times)]


@pytest.fixture(scope="module")
def answers(databases: Databases, shots: Sequence[Snapshot]) -> list[Rows]:
    """What the queries of the page give, in their order."""
    server = databases(f"sf-graphs-{secrets.token_hex(4)}")

    async def keep() -> None:
        store = make(server)
        documents = GraphDocuments("top4", DEFINITION, COINS)
        await documents.keep(store, shots, 1)
        await store.close()

    asyncio.run(keep())
    found = []
    for query in re.findall(r"```aql\n(.*?)```", (ROOT / "docs/how-to/graphs.md").read_text("utf-8"), re.DOTALL):
        status, answer = ask(server, "POST", f"/_db/{server['ARANGO_DB']}/_api/cursor", {"query": query})
        assert status == 201, (query, answer)
        found.append(answer["result"])
    return found


def edges_of(shot: Snapshot) -> list[tuple[str, str, float]]:
    ends = zip(*(column.tolist() for column in shot.edges), strict=True)
    return [(shot.symbols[source], shot.symbols[target], weight / 1e6) for source, target, weight in ends]


def of_the_day(shots: Sequence[Snapshot]) -> list[tuple[str, str, float]]:
    (shot,) = (one for one in shots if one.time_ms == DAY)
    return edges_of(shot)


def test_whom_a_coin_was_joined_to_on_a_day(answers: list[Rows], shots: Sequence[Snapshot]) -> None:
    own = [edge for edge in of_the_day(shots) if "BTCUSDT" in edge[:2]]
    named: Rows = [
        [f"top4_nodes/{source}_{DAY}", f"top4_nodes/{target}_{DAY}", weight] for source, target, weight in own
    ]
    assert answers[0] == sorted(named, key=lambda one: (-one[2], one))
    assert len(own) >= 2


def test_the_hub_of_each_month(answers: list[Rows], shots: Sequence[Snapshot]) -> None:
    ranks: dict[str, dict[str, list[float]]] = {}
    for shot in shots:
        assert shot.coins is not None
        month = datetime.fromtimestamp(shot.time_ms / 1000, UTC).strftime("%Y-%m")
        for symbol, rank in zip(shot.symbols, shot.coins.pagerank.astype(float).tolist(), strict=True):
            ranks.setdefault(month, {}).setdefault(symbol, []).append(rank)
    assert [row[0] for row in answers[1]] == sorted(ranks) == ["2024-07", "2024-08", "2024-09"]
    for month, symbol, mean in answers[1]:
        means = {name: sum(own) / len(own) for name, own in ranks[month].items()}
        assert symbol == max(means, key=lambda name: means[name])
        assert mean == pytest.approx(means[symbol])


def test_turnover_over_time(answers: list[Rows], shots: Sequence[Snapshot]) -> None:
    assert answers[2] == [[one.time_ms, one.turnover] for one in shots if one.turnover is not None]
    assert len(answers[2]) > 20


def test_how_long_an_edge_lasted(answers: list[Rows], shots: Sequence[Snapshot]) -> None:
    times: dict[tuple[str, str], list[int]] = {}
    for shot in shots:
        for source, target, _ in edges_of(shot):
            times.setdefault((source, target), []).append(shot.time_ms)
    expected: Rows = [[*pair, len(own), own[0], own[-1]] for pair, own in times.items()]
    assert answers[3] == sorted(expected, key=lambda one: (-one[2], one[:2]))
    assert len({one[2] for one in expected}) > 1


def test_neighbours_of_neighbours(answers: list[Rows], shots: Sequence[Snapshot]) -> None:
    edges = [edge[:2] for edge in of_the_day(shots)]
    ways: Counter[str] = Counter()
    for first, one in enumerate(edges):
        if "BTCUSDT" in one:
            middle = one[1 - one.index("BTCUSDT")]
            for second, other in enumerate(edges):
                if second != first and middle in other:
                    ways[other[1 - other.index(middle)]] += 1
    assert answers[4] == [
        [symbol, count] for symbol, count in sorted(ways.items(), key=lambda item: (-item[1], item[0]))
    ]
    assert len(ways) >= 2
    assert len(answers) == 5
