"""loader-producer against files whose checksum is right and whose values are others than those of the exchange."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamforge import wiring
from streamforge.exchange.config import ExchangeConfig
from streamforge.workers import loader_producer
from streamforge_utils.runtime.life.settings import ExchangeSettings
from tests.exchange.conftest import peer
from tests.runtime.rig import Rig

LIE = "archive-rows:kind=altered,rows=0"
CANDLES, TRADES = "api_candles_1h", "api_trades"
EQUAL = "records of {0} of {0} files equal the exchange's"


async def loaded(
    folder: Path, type_name: str, time_range: str, samples: str, *faults: str
) -> tuple[dict[str, Any], int, int]:
    """The `extra` of the terminal event, the records that were written, and the requests for records over REST."""
    async with peer(ExchangeConfig(faults=faults)) as exchange:
        url = exchange.exchange.url
        rig = Rig(folder)
        rig.environment |= {
            "TYPE": type_name,
            "TIME_RANGE": time_range,
            "STREAMFORGE_ARCHIVE_URL": url,
            "STREAMFORGE_ARCHIVE_SAMPLES": samples,
        }
        rig.other_exchange = wiring.make_exchange(ExchangeSettings(urls=(url,)))
        await rig.prepare()
        assert await rig.live(loader_producer.DEFINITION) == 0
        last = (await rig.events())[-1]
        await rig.close()
        await rig.other_exchange.close()
        stats: Any = (await exchange.get("/control/stats")).json
        asked = [
            by for path, by in stats["requests"].items() if path.rpartition("/")[2] in ("klines", "historicalTrades")
        ]
        return dict(last.extra or {}), last.records_written, sum(sum(by.values()) for by in asked)


@pytest.mark.parametrize(
    ("samples", "requests", "files"),
    [
        ("some", 1, 2),
        pytest.param("all", 13 + 12, 12, marks=pytest.mark.e2e),
        pytest.param("none", 0, 0, marks=pytest.mark.e2e),
    ],
)
async def test_a_right_year_has_no_false_alarm_and_costs_few_requests(
    tmp_path: Path, samples: str, requests: int, files: int
) -> None:
    extra, written, asked = await loaded(tmp_path, CANDLES, "2023", samples)
    assert (written, asked, "unloaded" in extra) == (365 * 24, requests, False)
    assert extra.get("samples", EQUAL.format(0)) == EQUAL.format(files)


@pytest.mark.parametrize(("type_name", "what"), [(CANDLES, ': volume is "1'), (TRADES, ': quantity is "1')])
async def test_where_one_drawn_file_lies_all_are_looked_at_before_a_record_is_written(
    tmp_path: Path, type_name: str, what: str
) -> None:
    extra, written, asked = await loaded(tmp_path, type_name, "2024-07-26:2024-07-31", "some", LIE)
    (unloaded,) = [{one["range"] for one in extra["unloaded"]}]
    assert (written, len(unloaded), "samples" in extra) == (0, 5, False)
    assert all("archive-differs: " in one["reason"] and what in one["reason"] for one in extra["unloaded"])
    assert asked <= 5 * 3 * 2


@pytest.mark.parametrize(("samples", "found"), [pytest.param("all", 31, marks=pytest.mark.e2e), ("none", 0)])
async def test_one_altered_candle_of_a_month_and_of_its_days_is_found_where_all_are_sampled(
    tmp_path: Path, samples: str, found: int
) -> None:
    fault = "archive-rows:kind=altered,rows=1,file=*-2023-03*"
    extra, written, _ = await loaded(tmp_path, CANDLES, "2023-02:2023-05", samples, fault)
    told = [one["reason"] for one in extra.get("unloaded", ())]
    assert (len(told), written) == (found, (28 + 31 + 30 - found) * 24)
    assert all("T12:00Z differs: volume is " in reason for reason in told)
