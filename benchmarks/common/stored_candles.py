"""A data directory with very many candles, without the time that loading them takes."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from benchmarks.common.pages import OBSERVED_MS
from streamforge import wiring
from streamforge.manager.coverage.store import CoverageStore
from streamforge_utils.adapters.embedded.store.collection_files import Catalogue
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.kinds.registry import kind_of, series_of
from streamforge_utils.runtime.life.settings import DataSettings

AT_ONCE = 250_000
"""Rows of a transaction."""
START_MS = 1_420_070_400_000  # 2015-01-01
MINUTE_MS = 60_000

_FILL = """
WITH RECURSIVE n (i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?2)
INSERT INTO documents (key, version, body)
SELECT printf('%s%d', ?3, ?4 + i * 60000), ?5, CAST(printf(
    '{"symbol":"%s","interval":"1m","open_time":%d,"open":%d.01,"high":%d.5,"low":%d.25,"close":%d.75,'
    || '"volume":%d.13279,"close_time":%d,"quote_asset_volume":654690.621546,"number_of_trades":816,'
    || '"taker_buy_base_asset_volume":3.28471,"taker_buy_quote_asset_volume":212232.3605153}',
    ?6, ?4 + i * 60000, 60000 + i % 997, 61000 + i % 991, 59000 + i % 983, 60000 + (i + 1) % 997, i % 89,
    ?4 + i * 60000 + 59999) AS BLOB)
FROM n
"""


def symbol_of(size: int) -> str:
    """The symbol of so many candles."""
    return f"C{size}USDT"


async def fill(data: Path, sizes: tuple[int, ...]) -> None:
    """Store so many 1m candles of a symbol each, written by SQL in the adapter's own table, and their coverage."""
    folder = data / wiring.STORE
    folder.mkdir(parents=True)
    catalogue = Catalogue(folder / "documents")
    store = wiring.make_store(DataSettings(data_dir=data))
    for size in sizes:
        series = series_of(symbol_of(size), "api_candles_1m")
        for first in range(0, size, AT_ONCE):
            values = (first, min(first + AT_ONCE, size), kind_of(series).prefix(series), START_MS, OBSERVED_MS)

            def work(connection: sqlite3.Connection, values: tuple[object, ...] = (*values, series.symbol)) -> None:
                connection.execute(_FILL, values)

            catalogue.write(_collection(size), work)
        end_ms = START_MS + size * MINUTE_MS
        whole = Segment(start_ms=START_MS, end_ms=end_ms, verdict=Verdict.STORED, collection=_collection(size))
        await CoverageStore(store).lay_over(series, [whole])
    catalogue.close()
    await store.close()


def _collection(size: int) -> str:
    return f"c{size}usdt_api_candles_1m_2015_01_01"
