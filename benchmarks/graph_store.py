"""What graph-builder costs from its start to its end: bars in the embedded store become documents, edges and files."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import msgspec

from benchmarks.common.pages import OBSERVED_MS
from benchmarks.common.processes import ROOT
from tests.cleanenv import environment

QUEUE = "wf-bench-gnn_graph-20230101-abc123"
TYPE = "api_candles_1h"
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
START_MS = 1_672_531_200_000  # 2023-01-01
LOOKBACK_DAYS = 9

_FILL = """
WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1)
INSERT INTO documents (key, version, body)
SELECT printf('%s%d', ?2, ?3 + i * 3600000), ?4, CAST(printf(
    '{"symbol":"%s","interval":"1h","open_time":%d,"open":%d.01,"high":%d.5,"low":%d.25,"close":%d.75,'
    || '"volume":%d.13279,"close_time":%d,"quote_asset_volume":654690.621546,"number_of_trades":816,'
    || '"taker_buy_base_asset_volume":3.28471,"taker_buy_quote_asset_volume":212232.3605153}',
    ?5, ?3 + i * 3600000, 61000 + i % 997, 66000 + i % 991, 59000 + i % 983,
    60000 + ((i + 7) * 2654435761 >> 9) % 997 + ((i * 31 + ?6) * 40503 * (?6 + 3) >> 5) % 1999, i % 89,
    ?3 + i * 3600000 + 3599999) AS BLOB)
FROM n
"""


class Built(msgspec.Struct, frozen=True):
    """A worker's whole life. rss_mb: the most that it held. edges: that are stored."""

    cpu_s: float
    wall_s: float
    rss_mb: float
    edges: int


def fill(folder: str, coins: int, days: int) -> int:
    """Store a year of bars, and the order; returns how many bars there are."""
    from streamforge import wiring
    from streamforge.analytics.graphs.definition import read_definition
    from streamforge.analytics.graphs.order import GraphOrder, order_name
    from streamforge_utils.adapters.embedded.bus.embedded_bus import EmbeddedBus
    from streamforge_utils.adapters.embedded.store.collection_files import Catalogue
    from streamforge_utils.adapters.object_storage.object_folder import ObjectFolder
    from streamforge_utils.model.coverage import Segment, Verdict
    from streamforge_utils.model.kinds.registry import kind_of, series_of
    from streamforge_utils.ports.bus import TopicSpec

    data, hours = Path(folder), 24 * (days + LOOKBACK_DAYS)
    (data / wiring.STORE).mkdir(parents=True)
    catalogue = Catalogue(data / wiring.STORE / "documents")
    begin_ms = START_MS - LOOKBACK_DAYS * DAY_MS
    inputs = {}
    for number in range(coins):
        symbol = f"C{number:03}USDT"
        series, collection = series_of(symbol, TYPE), f"{symbol.lower()}_{TYPE}"
        values = (hours, kind_of(series).prefix(series), begin_ms, OBSERVED_MS, symbol, number)

        def work(connection: sqlite3.Connection, values: tuple[object, ...] = values) -> None:
            connection.execute(_FILL, values)

        catalogue.write(collection, work)
        end_ms = begin_ms + hours * HOUR_MS
        inputs[symbol] = [
            Segment(start_ms=begin_ms, end_ms=end_ms, verdict=Verdict.STORED, collection=collection, records=hours)
        ]
    catalogue.close()
    order = GraphOrder(
        graph="bench",
        definition=read_definition({"interval": "1h", "window": 168, "step": 24, "top_k": 10}),
        type=TYPE,
        start_ms=START_MS,
        end_ms=START_MS + days * DAY_MS,
        inputs=inputs,
    )

    async def prepared() -> None:
        await ObjectFolder(data / "objects").put(order_name(QUEUE), msgspec.json.encode(order))
        bus = EmbeddedBus(data / "bus")
        for topic in ("queue-control", "queue-events"):
            await bus.create_topic(TopicSpec(name=topic))
        await bus.close()

    asyncio.run(prepared())
    return coins * hours


def built(folder: str) -> Built:
    """Run the worker once."""
    import time

    data = Path(folder)
    variables = environment(
        QUEUE_ID=QUEUE,
        SYMBOL="BENCH",
        TYPE="gnn_graph",
        STREAMFORGE_DATA_DIR=str(data),
        STREAMFORGE_METRICS_PORT="0",
        STREAMFORGE_ATTEMPT="1",
    )
    began = time.perf_counter()
    with (data / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "streamforge.workers", "graph-builder"],
            env=variables,
            cwd=ROOT,
            stdout=log,
            stderr=log,
        )
        _, status, used = os.wait4(worker.pid, 0)
    wall_s = time.perf_counter() - began
    if status:
        raise RuntimeError(f"graph-builder ended with {status}: {(data / 'worker.log').read_text()[-2000:]}")
    return Built(used.ru_utime + used.ru_stime, wall_s, used.ru_maxrss / 1024, _stored_edges(data))


def _stored_edges(data: Path) -> int:
    from streamforge import wiring

    file = data / wiring.STORE / "edges.db"
    with sqlite3.connect(file) as connection:
        rows = connection.execute("SELECT row FROM arriving").fetchall()
    return sum(len(msgspec.json.decode(row)) for (row,) in rows)
