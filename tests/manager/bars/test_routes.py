"""GET /series/{symbol}/{type}/bars and GET /coverage: what they answer, and every refusal."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from streamforge.manager.api.app import create_app
from streamforge.manager.bars import service as bar_service
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.series import Series
from tests.manager.api.support import COLLECTION, DAY_MS, MINUTE_MS, SEGMENTS, START_MS, candles, client_of, problem
from tests.manager.memory_service import MemoryService

BARS = "/series/BTCUSDT/api_candles_1m/bars"
SERIES = Series("BTCUSDT", "candles", "1m")
RANGE = {"start": "2024-08-01", "end": "2024-08-02"}


@pytest.fixture(autouse=True)
async def _stored(service: MemoryService) -> None:
    await service.store(COLLECTION, candles(1000))
    await service.know(SERIES, SEGMENTS)


async def test_bars_are_columns_over_the_whole_grid(client: httpx.AsyncClient) -> None:
    body = (await client.get(BARS, params={**RANGE, "max": 50})).json()
    rows = {
        name: body.pop(name) for name in ("time", "open", "high", "low", "close", "volume", "n", "expected", "verdict")
    }
    assert body == {
        "symbol": "BTCUSDT",
        "type": "api_candles_1m",
        "interval": "1h",
        "step_ms": 3_600_000,
        "start": "2024-08-01T00:00:00Z",
        "end": "2024-08-02T00:00:00Z",
        "start_ms": START_MS,
        "end_ms": START_MS + DAY_MS,
        "asked_start_ms": START_MS,
        "asked_end_ms": START_MS + DAY_MS,
        "computing": 0,
    }
    assert rows["time"] == [START_MS + hour * 3_600_000 for hour in range(24)]
    assert [column[0] for column in rows.values()] == [
        START_MS, 64000.1, 64060.3, 63999.0, 1e-08, 7407407340727.407, 60, 60, "stored",
    ]  # fmt: skip
    assert [column[16] for column in rows.values()][5:] == [4938271560484.938, 40, 60, "ours"]
    assert [column[17] for column in rows.values()][1:] == [None] * 5 + [0, 60, "ours"]


async def test_the_first_price_is_that_of_the_first_record_in_the_range(client: httpx.AsyncClient) -> None:
    answer = await client.get("/series/BTCUSDT/api_candles_1m/first-price", params={"start": "2024-08-01T00:00:30Z"})
    assert answer.json() == {
        "symbol": "BTCUSDT",
        "type": "api_candles_1m",
        "time": "2024-08-01T00:01:00Z",
        "time_ms": START_MS + MINUTE_MS,
        "price": 64001.1,
    }


@pytest.mark.parametrize(
    ("query", "interval", "count"),
    [
        ({}, "1m", 1000),
        ({"max": 999}, "5m", 200),
        ({"start": str(START_MS + 90_000), "end": "2024-08-01T01:00Z"}, "1m", 59),
        ({"start": "2024-08-01T12:00Z", "end": "2025"}, "4h", 915),
    ],
)
async def test_the_server_chooses_the_level_by_the_range_and_the_number_of_bars(
    client: httpx.AsyncClient, query: dict[str, Any], interval: str, count: int
) -> None:
    body = (await client.get(BARS, params=query)).json()
    assert (body["interval"], len(body["time"]), len(body["verdict"])) == (interval, count, count)


async def test_a_range_may_be_relative_to_now(service: MemoryService) -> None:
    async with client_of(create_app(service, clock=service.clock)) as client:
        body = (await client.get(BARS, params={"start": "-1d", "end": "now"})).json()
    assert (body["start"], body["end"]) == ("2024-08-01T12:00:00Z", "2024-08-02T12:00:00Z")


async def test_settled_bars_are_not_sent_again(client: httpx.AsyncClient) -> None:
    span = {"start": "2024-08-01", "end": "2024-08-01T16:00Z"}
    first = await client.get(BARS, params=span)
    tag = first.headers["etag"]
    for header in (tag, f'"other", W/{tag}'):
        again = await client.get(BARS, params=span, headers={"If-None-Match": header})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    other = await client.get(BARS, params=span, headers={"If-None-Match": '"other"'})
    assert (other.status_code, other.content) == (200, first.content)
    assert "etag" not in (await client.get(BARS, params=RANGE)).headers, "a part of the day lacks"


async def test_what_is_still_computed_says_when_to_ask_again(
    client: httpx.AsyncClient, service: MemoryService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bar_service, "AT_ONCE", 0)
    first = await client.get(BARS, params={**RANGE, "max": 50})
    assert (first.json()["computing"], first.headers["retry-after"]) == (24, "1")
    assert "etag" not in first.headers
    await service.bars.queue.idle()
    second = await client.get(BARS, params={**RANGE, "max": 50})
    assert second.json()["computing"] == 0
    assert "retry-after" not in second.headers


async def test_rollups_are_no_collection_of_records(client: httpx.AsyncClient) -> None:
    await client.get(BARS, params={**RANGE, "max": 50})
    listed = (await client.get("/collections")).json()["collections"]
    assert [one["name"] for one in listed] == [COLLECTION]


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        (BARS, {"max": 49}, "max"),
        (BARS, {"max": 5001}, "max"),
        (BARS, {"start": "1990", "end": "2024", "max": 50}, "max"),
        (BARS, {"start": "soon"}, "start"),
        (BARS, {"start": "-1x"}, "start"),
        (BARS, {"end": "9999"}, "end"),
        (BARS, {"end": "2024-08-01"}, "end"),
        ("/series/BTCUSDT/ws_orderbook/first-price", {}, "type"),
        ("/series/BTCUSDT/api_candles_1m/first-price", {"start": "soon"}, "start"),
        ("/series/BTCUSDT/ws_orderbook/bars", {}, "type"),
        ("/series/BTCUSDT/nonsense/bars", {}, "type"),
        ("/coverage", {"bins": 0}, "bins"),
        ("/coverage", {"type": "nonsense"}, "type"),
        ("/coverage", {"start": "2024-08-02", "end": "2024-08-01"}, "end"),
        ("/coverage", {"cursor": "nonsense"}, "cursor"),
        ("/coverage", {"cursor": "nonsense", **RANGE}, "cursor"),
        ("/coverage", {"cursor": "é"}, "cursor"),
        ("/coverage", {"sort": "size"}, "sort"),
        ("/coverage", {"verdict": "gone"}, "verdict[0]"),
    ],
)
async def test_what_is_not_acceptable_is_named(
    client: httpx.AsyncClient, path: str, query: dict[str, Any], field: str
) -> None:
    body = problem(await client.get(path, params=query), 422, "invalid-input")
    assert [one["field"] for one in body["errors"]] == [field]


async def test_bars_of_what_is_not_known_are_not_found(client: httpx.AsyncClient) -> None:
    problem(await client.get("/series/ETHUSDT/api_candles_1m/bars"), 404, "not-found")


async def many(service: MemoryService) -> None:
    """Two series more: trades of a day later, and hours that alternate."""
    stored = Segment(start_ms=START_MS + DAY_MS, end_ms=START_MS + DAY_MS + 5, verdict=Verdict.STORED, collection="c")
    await service.know(Series("BTCEUR", "trades"), [stored])
    hours = [
        Segment(
            start_ms=START_MS + hour * 3_600_000,
            end_ms=START_MS + (hour + 1) * 3_600_000,
            verdict=Verdict.LOST if hour % 2 else Verdict.STORED,
            collection=None if hour % 2 else "c",
        )
        for hour in range(24)
    ]
    await service.know(Series("ETHUSDT", "candles", "1h"), hours)


def told(body: dict[str, Any]) -> dict[str, list[tuple[float, float, str]]]:
    """By series, its runs in hours."""
    return {
        f"{one['symbol']} {one['type']}": [
            ((start - START_MS) / 3_600_000, (end - START_MS) / 3_600_000, verdict)
            for start, end, verdict in one["runs"]
        ]
        for one in body["series"]
    }


async def test_coverage_of_all_series_is_told_as_runs(client: httpx.AsyncClient, service: MemoryService) -> None:
    await many(service)
    body = (await client.get("/coverage", params={**RANGE, "bins": 6})).json()
    assert (body["start"], body["end_ms"], body["cursor"]) == ("2024-08-01T00:00:00Z", START_MS + DAY_MS, None)
    assert told(body) == {
        "ETHUSDT api_candles_1h": [(0, 24, "lost")],
        "BTCUSDT api_candles_1m": [
            (0, 1000 / 60, "stored"),
            (1000 / 60, 1010 / 60, "exchange"),
            (1010 / 60, 24, "ours"),
        ],
        "BTCEUR api_trades": [(0, 24, "unknown")],
    }
    fine = told((await client.get("/coverage", params=RANGE)).json())
    assert [verdict for _, _, verdict in fine["ETHUSDT api_candles_1h"]] == ["stored", "lost"] * 12


async def test_coverage_says_what_the_coverage_of_each_series_says(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    await many(service)
    body = (await client.get("/coverage", params={"start": "2024-08-01", "end": "2024-08-03"})).json()
    for one in body["series"]:
        alone = await client.get(
            f"/coverage/{one['symbol']}/{one['type']}", params={"time_range": "2024-08-01:2024-08-03"}
        )
        segments = [[s["start_ms"], s["end_ms"], s["verdict"]] for s in alone.json()["segments"]]
        assert one["runs"] == segments
    assert len(body["series"]) == 3


async def test_coverage_without_a_range_is_of_all_that_is_stored_of_what_fits(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    await many(service)
    body = (await client.get("/coverage", params={"prefix": "btc"})).json()
    assert [*told(body)] == ["BTCEUR api_trades", "BTCUSDT api_candles_1m"]
    assert (body["start_ms"], body["end_ms"]) == (START_MS, START_MS + DAY_MS + 5)
    body = (await client.get("/coverage", params={"type": "ws_candles_1m"})).json()
    assert [*told(body)] == ["BTCUSDT api_candles_1m"]
    assert body["end_ms"] == START_MS + 1000 * MINUTE_MS
    nothing = (await client.get("/coverage", params={"prefix": "XX"})).json()
    none = dict.fromkeys(("start", "end", "start_ms", "end_ms", "cursor"))
    assert nothing == {**none, "series": [], "total": 0}


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({}, ["BTCEUR", "BTCUSDT", "ETHUSDT"]),
        ({**RANGE, "sort": "-symbol"}, ["ETHUSDT", "BTCUSDT", "BTCEUR"]),
        ({**RANGE, "sort": "share"}, ["BTCEUR", "ETHUSDT", "BTCUSDT"]),
        ({**RANGE, "sort": "hole"}, ["ETHUSDT", "BTCUSDT", "BTCEUR"]),
        ({**RANGE, "sort": "-proven", "verdict": ["lost", "exchange"]}, ["ETHUSDT", "BTCUSDT"]),
    ],
)
async def test_coverage_is_sorted_and_paged(
    client: httpx.AsyncClient, service: MemoryService, query: dict[str, Any], names: list[str]
) -> None:
    await many(service)
    listed, cursor = [], None
    for _ in names:
        page = (
            await client.get("/coverage", params={**query, "limit": 1, **({"cursor": cursor} if cursor else {})})
        ).json()
        assert page["total"] == len(names)
        listed += [one["symbol"] for one in page["series"]]
        cursor = page["cursor"]
    assert (listed, cursor) == (names, None)


async def test_coverage_has_the_figures_of_what_is_known_and_not_of_its_bins(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    await many(service)
    body = (await client.get("/coverage", params={**RANGE, "bins": 1})).json()
    trades, minutes, hours = (
        {name: one[name] for name in ("runs", "share", "hole", "proven_end_ms")} for one in body["series"]
    )
    end_ms, hour_ms = START_MS + DAY_MS, 3_600_000
    assert trades == {
        "runs": [[START_MS, end_ms, "unknown"]], "share": 0.0, "hole": [START_MS, end_ms], "proven_end_ms": None,
    }  # fmt: skip
    assert minutes == {
        "runs": [[START_MS, end_ms, "ours"]],
        "share": 1000 / 1440,
        "hole": [START_MS + 1000 * MINUTE_MS, end_ms],
        "proven_end_ms": START_MS + 1000 * MINUTE_MS,
    }
    assert (hours["share"], hours["hole"]) == (0.5, [START_MS + hour_ms, START_MS + 2 * hour_ms])


@pytest.mark.parametrize("query", [{}, {"start": "-2d", "end": "now"}])
async def test_all_pages_have_the_range_of_the_first_one(service: MemoryService, query: dict[str, str]) -> None:
    await many(service)
    async with client_of(create_app(service, clock=service.clock)) as client:
        first = (await client.get("/coverage", params={**query, "limit": 1})).json()
        later = Segment(start_ms=0, end_ms=MINUTE_MS, verdict=Verdict.STORED, collection="c")
        await service.know(Series("ZECUSDT", "candles", "1m"), [later])
        service.clock.advance(100)
        second = (await client.get("/coverage", params={**query, "limit": 1, "cursor": first["cursor"]})).json()
        assert [second[name] for name in ("start_ms", "end_ms")] == [first[name] for name in ("start_ms", "end_ms")]
        named = {"start": str(START_MS), "end": str(START_MS + 5)}
        third = (await client.get("/coverage", params={**named, "cursor": second["cursor"]})).json()
    assert (third["start_ms"], third["end_ms"]) == (START_MS, START_MS + 5), "what is named counts"
    assert [one["symbol"] for one in third["series"]] == ["ETHUSDT", "ZECUSDT"]


async def test_a_cursor_is_of_one_order(client: httpx.AsyncClient, service: MemoryService) -> None:
    await many(service)
    cursor = (await client.get("/coverage", params={"limit": 1})).json()["cursor"]
    body = problem(await client.get("/coverage", params={"cursor": cursor, "sort": "share"}), 422, "invalid-input")
    assert [one["field"] for one in body["errors"]] == ["cursor"]
