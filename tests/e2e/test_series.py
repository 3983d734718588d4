"""Every interval and every kind of symbol: exact, and each hole with the verdict that it deserves."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from streamforge_utils.model.kinds.candles import Interval
from tests.e2e import rig
from tests.e2e.rig import DAY_MS, HOUR_MS

SPANS = {
    "1s": "2024-08-01T00:00Z:2024-08-01T00:40Z",
    "1m": "2024-08-01",
    "3m": "2024-08-01:2024-08-03",
    "5m": "2024-08-01:2024-08-03",
    "15m": "2024-08-01:2024-08-08",
    "30m": "2024-08",
    "1h": "2024-07:2024-09",
    "2h": "2024-07:2024-09",
    "4h": "2024-07:2024-09",
    "6h": "2024-07:2024-09",
    "8h": "2024-07:2024-09",
    "12h": "2024-07:2024-09",
    "1d": "2022:2024",
    "3d": "2019:2024",
    "1w": "2019:2024",
    "1M": "2018:2024",
}


@pytest.fixture(scope="module")
def exchange() -> Iterator[rig.Exchange]:
    """An exchange that was down for a while, as far as SOLUSDT is concerned."""
    with rig.exchange("--hole", "SOLUSDT@2024-08-01T02:00Z:2024-08-01T04:30Z") as found:
        yield found


def test_every_interval_is_loaded_exactly_as_the_exchange_has_it(exchange: rig.Exchange, manager: rig.Manager) -> None:
    assert SPANS.keys() == set(Interval)
    started = {
        interval: manager.start_load("BTCUSDT", f"api_candles_{interval}", span) for interval, span in SPANS.items()
    }
    for interval, begun in started.items():
        assert len(rig.assert_exact(exchange, manager, manager.finished(begun["queue_id"]))) >= 60, interval
    names = [begun["collection"] for begun in started.values()]
    assert len(set(names)) == len(names)
    assert "btcusdt_api_candles_1mo_2018_01_01" in names


@pytest.mark.parametrize(
    ("symbol", "more"), [("这是测试币456", {}), ("BNBUSDT", {"collection_name": "a" * 256})], ids=["script", "length"]
)
def test_a_symbol_in_another_script_and_a_name_at_its_limit_are_taken(
    symbol: str, more: dict[str, str], exchange: rig.Exchange, manager: rig.Manager
) -> None:
    workflow = manager.loaded(symbol, "api_candles_1h", "2024-08-01", **more)
    assert workflow["symbol"] == symbol
    assert workflow["collection"].isascii()
    assert len(rig.assert_exact(exchange, manager, workflow)) == 24
    found = manager.api.get(f"/coverage/{symbol}/api_candles_1h", params={"time_range": "2024-08-01"}).json()
    assert [(s["verdict"], s["records"], s["collection"]) for s in found["segments"]] == [
        ("stored", 24, more.get("collection_name", workflow["collection"]))
    ]


@pytest.mark.parametrize(
    ("symbol", "span", "verdicts"),
    [
        # Listed 2024-03-15T10:07Z: the bar of 10:00 is its first.
        ("NEWUSDT", "2024-03-15", [("closed", "2024-03-15T00:00:00Z"), ("stored", "2024-03-15T10:00:00Z")]),
        # Delisted 2022-06-30T00:00Z.
        ("OLDUSDT", "2022-06-29:2022-07-02", [("stored", "2022-06-29T00:00:00Z"), ("closed", "2022-06-30T00:00:00Z")]),
        ("OLDUSDT", "2023-01", [("closed", "2023-01-01T00:00:00Z")]),
    ],
)
def test_before_the_listing_and_after_the_delisting_it_is_closed(
    symbol: str, span: str, verdicts: list[tuple[str, str]], exchange: rig.Exchange, manager: rig.Manager
) -> None:
    workflow = manager.loaded(symbol, "api_candles_1h", span, collection_name=f"listing-{symbol}-{span[:10]}")
    assert workflow["failure"] is None
    segments = manager.coverage(workflow["queue_id"])
    assert [(s["verdict"], s["start"]) for s in segments] == verdicts
    if "stored" in {verdict for verdict, _ in verdicts}:
        assert sum(s["records"] for s in segments) == len(rig.assert_exact(exchange, manager, workflow))
    else:
        assert workflow["collection"] not in [c["name"] for c in manager.api.get("/collections").json()["collections"]]


def test_an_end_after_now_is_brought_back_to_the_end_of_the_last_bar_that_is_over(
    exchange: rig.Exchange, manager: rig.Manager
) -> None:
    now_ms = exchange.stats()["now_ms"]
    day_ms = now_ms // DAY_MS * DAY_MS
    start = _day(day_ms - DAY_MS)
    begun = manager.start_load("ETHUSDT", "api_candles_1h", f"{start}:2999")
    span = begun["time_range"]
    assert span["requested"] == f"{start}:2999"
    assert span["clipped"] is True
    workflow = manager.finished(begun["queue_id"])
    span = workflow["time_range"]
    assert (span["clipped"], span["end_ms"] % HOUR_MS) == (True, 0)
    assert now_ms - HOUR_MS < span["end_ms"] <= exchange.stats()["now_ms"]
    segments = manager.coverage(begun["queue_id"])
    assert [(s["verdict"], s["end_ms"]) for s in segments] == [("stored", span["end_ms"])]
    assert len(rig.assert_exact(exchange, manager, workflow)) >= 24


def test_a_hole_of_the_exchange_is_named_and_asked_for_again(exchange: rig.Exchange, manager: rig.Manager) -> None:
    workflow = manager.loaded("SOLUSDT", "api_candles_1m", "2024-08-01")
    segments = manager.coverage(workflow["queue_id"])
    assert [(s["verdict"], s["start"], s["end"]) for s in segments] == [
        ("stored", "2024-08-01T00:00:00Z", "2024-08-01T02:00:00Z"),
        ("exchange", "2024-08-01T02:00:00Z", "2024-08-01T04:30:00Z"),
        ("stored", "2024-08-01T04:30:00Z", "2024-08-02T00:00:00Z"),
    ]
    assert len(rig.assert_exact(exchange, manager, workflow)) == 1440 - 150
    asked = exchange.requests()
    manager.loaded("SOLUSDT", "api_candles_1m", "2024-08-01")
    assert exchange.requests() - asked <= 2, "only the bounds of the series are asked for"


def _day(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d")
