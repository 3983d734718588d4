"""Every interval and every kind of symbol: exact, and each hole with the verdict that it deserves."""

from __future__ import annotations

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


def test_every_interval_is_loaded_exactly_as_the_exchange_has_it(exchange: rig.Exchange, manager: rig.Manager) -> None:
    assert SPANS.keys() == set(Interval)
    started = {
        interval: manager.start_load("BTCUSDT", f"api_candles_{interval}", span) for interval, span in SPANS.items()
    }
    for interval, begun in started.items():
        workflow = manager.wait(begun["queue_id"])
        assert workflow["status"] == "finished", manager.story(begun["queue_id"])
        span = workflow["time_range"]
        rows = exchange.oracle("BTCUSDT", interval, span["start_ms"], span["end_ms"])
        assert len(rows) >= 60
        assert manager.csv(workflow["collection"]) == rig.expected_csv("BTCUSDT", interval, rows), interval
        assert workflow["progress"]["records_stored"] == len(rows)
        assert workflow["coverage"]["complete"] is True
    names = [begun["collection"] for begun in started.values()]
    assert len(set(names)) == len(names)
    assert "btcusdt_api_candles_1mo_2018_01_01" in names


def test_a_symbol_in_another_script_is_loaded(exchange: rig.Exchange, manager: rig.Manager) -> None:
    symbol = "这是测试币456"
    workflow = manager.load(symbol, "api_candles_1h", "2024-08-01")
    assert workflow["status"] == "finished", manager.story(workflow["queue_id"])
    assert workflow["symbol"] == symbol
    assert workflow["collection"].isascii()
    span = workflow["time_range"]
    rows = exchange.oracle(symbol, "1h", span["start_ms"], span["end_ms"])
    assert len(rows) == 24
    assert manager.csv(workflow["collection"]) == rig.expected_csv(symbol, "1h", rows)
    found = manager.api.get(f"/coverage/{symbol}/api_candles_1h", params={"time_range": "2024-08-01"}).json()
    assert [(s["verdict"], s["records"]) for s in found["segments"]] == [("stored", 24)]


@pytest.mark.parametrize(
    ("symbol", "span", "verdicts"),
    [
        # Listed 2024-03-15T10:07Z: the bar of 10:00 is its first.
        ("NEWUSDT", "2024-03-15", [("closed", "2024-03-15T00:00:00Z"), ("stored", "2024-03-15T10:00:00Z")]),
        ("NEWUSDT", "2024-03-01:2024-03-10", [("closed", "2024-03-01T00:00:00Z")]),
        # Delisted 2022-06-30T00:00Z.
        ("OLDUSDT", "2022-06-29:2022-07-02", [("stored", "2022-06-29T00:00:00Z"), ("closed", "2022-06-30T00:00:00Z")]),
        ("OLDUSDT", "2023-01", [("closed", "2023-01-01T00:00:00Z")]),
        (
            "OLDUSDT",
            "2019-02-28:2019-03-02",
            [("closed", "2019-02-28T00:00:00Z"), ("stored", "2019-03-01T00:00:00Z")],
        ),
    ],
)
def test_before_the_listing_and_after_the_delisting_it_is_closed(
    symbol: str, span: str, verdicts: list[tuple[str, str]], exchange: rig.Exchange, manager: rig.Manager
) -> None:
    workflow = manager.load(symbol, "api_candles_1h", span, collection_name=f"listing-{symbol}-{span[:10]}")
    assert workflow["status"] == "finished", manager.story(workflow["queue_id"])
    assert workflow["failure"] is None
    segments = manager.coverage(workflow["queue_id"])
    assert [(s["verdict"], s["start"]) for s in segments] == verdicts
    rows = exchange.oracle(symbol, "1h", workflow["time_range"]["start_ms"], workflow["time_range"]["end_ms"])
    assert sum(s["records"] for s in segments) == len(rows)
    if rows:
        assert manager.csv(workflow["collection"]) == rig.expected_csv(symbol, "1h", rows)
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
    workflow = manager.wait(begun["queue_id"])
    assert workflow["status"] == "finished", manager.story(begun["queue_id"])
    span = workflow["time_range"]
    assert (span["clipped"], span["end_ms"] % HOUR_MS) == (True, 0)
    assert now_ms - HOUR_MS < span["end_ms"] <= exchange.stats()["now_ms"]
    segments = manager.coverage(begun["queue_id"])
    assert [(s["verdict"], s["end_ms"]) for s in segments] == [("stored", span["end_ms"])]
    rows = exchange.oracle("ETHUSDT", "1h", span["start_ms"], span["end_ms"])
    assert len(rows) >= 24
    assert manager.csv(workflow["collection"]) == rig.expected_csv("ETHUSDT", "1h", rows)


def test_a_name_at_its_limit_is_taken(exchange: rig.Exchange, manager: rig.Manager) -> None:
    name = "a" * 256
    workflow = manager.load("BNBUSDT", "api_candles_1h", "2024-08-01", collection_name=name)
    assert workflow["status"] == "finished", manager.story(workflow["queue_id"])
    span = workflow["time_range"]
    rows = exchange.oracle("BNBUSDT", "1h", span["start_ms"], span["end_ms"])
    assert manager.csv(name) == rig.expected_csv("BNBUSDT", "1h", rows)


def test_a_hole_of_the_exchange_is_named_and_asked_for_again(tmp_path_factory: pytest.TempPathFactory) -> None:
    hole = "BTCUSDT@2024-08-01T02:00Z:2024-08-01T04:30Z"
    with (
        rig.exchange("--hole", hole) as exchange,
        rig.manager(tmp_path_factory.mktemp("hole") / "data", exchange.url) as manager,
    ):
        workflow = manager.load("BTCUSDT", "api_candles_1m", "2024-08-01")
        assert workflow["status"] == "finished"
        segments = manager.coverage(workflow["queue_id"])
        assert [(s["verdict"], s["start"], s["end"]) for s in segments] == [
            ("stored", "2024-08-01T00:00:00Z", "2024-08-01T02:00:00Z"),
            ("exchange", "2024-08-01T02:00:00Z", "2024-08-01T04:30:00Z"),
            ("stored", "2024-08-01T04:30:00Z", "2024-08-02T00:00:00Z"),
        ]
        assert workflow["progress"]["records_stored"] == 1440 - 150
        asked = exchange.requests()
        again = manager.load("BTCUSDT", "api_candles_1m", "2024-08-01")
        assert again["status"] == "finished"
        assert exchange.requests() - asked <= 2, "only the bounds of the series are asked for"


def _day(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d")
