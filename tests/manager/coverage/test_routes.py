from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamforge.manager.api.app import create_app
from streamforge.manager.exports import records as record_reader
from streamforge.manager.exports.formats import Format, Writer
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.candles import KIND
from streamforge_utils.model.kinds.registry import kind_named
from streamforge_utils.model.series import Series
from streamforge_utils.ports.exchange import SymbolInfo
from streamforge_utils.ports.store import Document
from tests.doubles.clock import FakeClock
from tests.manager.api.support import (
    COLLECTION,
    DAY_MS,
    MINUTE_MS,
    SEGMENTS,
    START_MS,
    candles,
    client_of,
    problem,
)
from tests.manager.memory_service import MemoryService

RECORDS = f"/collections/{COLLECTION}/records"
FIRST = {
    "symbol": "BTCUSDT",
    "interval": "1m",
    "open_time": START_MS,
    "open": 64000.1,
    "high": 64001.3,
    "low": 63999.0,
    "close": 1e-08,
    "volume": 123456789012.12346,
    "close_time": START_MS + 59_999,
    "quote_asset_volume": 654690.621546,
    "number_of_trades": 816,
    "taker_buy_base_asset_volume": 3.28471,
    "taker_buy_quote_asset_volume": 0.0,
}


@pytest.fixture(autouse=True)
async def _stored(service: MemoryService, monkeypatch: pytest.MonkeyPatch) -> None:
    await service.store(COLLECTION, candles(25))
    monkeypatch.setattr(record_reader, "BATCH", 4)


async def test_collections_are_listed_with_their_records(client: httpx.AsyncClient) -> None:
    assert (await client.get("/collections")).json() == {"collections": [{"name": COLLECTION, "records": RECORDS}]}


async def test_records_as_json_hold_numbers_and_neither_key_nor_version(client: httpx.AsyncClient) -> None:
    response = await client.get(RECORDS, params={"limit": 1})

    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert body["collection"] == COLLECTION
    assert body["records"] == [FIRST]
    assert body["after"] == f"BTCUSDT_1m_{START_MS}"


@pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
async def test_iso_times_are_written_in_every_format_and_page(client: httpx.AsyncClient, form: str) -> None:
    response = await client.get(RECORDS, params={"limit": 1, "format": form, "time": "iso"})

    match form:
        case "json":
            record = response.json()["records"][0]
        case "jsonl":
            record = json.loads(response.text)
        case _:
            record = next(csv.DictReader(io.StringIO(response.text)))
    times = {"open_time": "2024-08-01T00:00:00.000Z", "close_time": "2024-08-01T00:00:59.999Z"}
    whole = {**FIRST, **times}
    assert record == (whole if form != "csv" else {name: str(value) for name, value in whole.items()})
    assert "time=iso" in response.headers["link"]


async def test_what_is_no_candle_keeps_its_times(client: httpx.AsyncClient, service: MemoryService) -> None:
    await service.world.store.upsert("others", [Document("a", 0, b'{"open_time":1}')])
    response = await client.get("/collections/others/records", params={"format": "jsonl", "time": "iso"})
    assert response.json() == {"_key": "a", "open_time": 1}


@pytest.mark.parametrize("limit", [1, 7, 24, 25, 26, 1000])
async def test_any_page_size_gives_each_record_once_oldest_first(client: httpx.AsyncClient, limit: int) -> None:
    times: list[int] = []
    query: dict[str, Any] = {"limit": limit}
    while True:
        response = await client.get(RECORDS, params=query)
        body = response.json()
        assert len(body["records"]) <= limit
        times += [record["open_time"] for record in body["records"]]
        assert ("link" in response.headers) == (body["after"] is not None)
        if body["after"] is None:
            break
        query["after"] = body["after"]

    assert times == [START_MS + index * MINUTE_MS for index in range(25)]


async def pages(client: httpx.AsyncClient, query: str, clock: FakeClock | None = None) -> list[str]:
    """The texts of the pages to which the header Link leads. clock: is moved by a minute between two pages."""
    place, texts = f"{RECORDS}?{query}", list[str]()
    while place:
        response = await client.get(place)
        texts.append(response.text)
        link = re.fullmatch(r'<(.+)>; rel="next"', response.headers.get("link", ""))
        place = link[1] if link else ""
        if clock is not None:
            clock.advance(60)
    return texts


async def test_the_link_header_leads_through_pages_of_csv(client: httpx.AsyncClient) -> None:
    found = await pages(client, "limit=10&format=csv&time_range=2024-08-01T00:05Z:2024-08-02")
    assert {page.splitlines()[0] for page in found} == {",".join(KIND.columns)}
    times = [int(row.split(",")[2]) for page in found for row in page.splitlines()[1:]]
    assert times == [START_MS + index * MINUTE_MS for index in range(5, 25)]


async def test_a_series_is_read_alone_page_by_page_and_whole(client: httpx.AsyncClient, service: MemoryService) -> None:
    others = [
        msgspec.structs.replace(candle, symbol=symbol, key=candle.key.replace("BTCUSDT", symbol))
        for symbol in ("AAAUSDT", "ZZZUSDT")
        for candle in candles(3)
    ]
    await service.store(COLLECTION, others)
    query = "symbol=btcusdt&type=api_candles_1m&format=jsonl"
    whole = (await client.get(f"{RECORDS}?{query}&limit=all")).text
    assert whole == "".join(await pages(client, f"{query}&limit=10"))
    assert [json.loads(line)["symbol"] for line in whole.splitlines()] == ["BTCUSDT"] * 25


async def test_a_range_relative_to_now_is_resolved_once_and_pages_go_on_with_what_it_became(
    service: MemoryService,
) -> None:
    clock = FakeClock(START_MS + 10 * MINUTE_MS)
    async with client_of(create_app(service, clock=clock)) as client:
        found = await pages(client, "limit=3&time_range=-7m", clock)
    times = [record["open_time"] for page in found for record in json.loads(page)["records"]]
    assert times == [START_MS + index * MINUTE_MS for index in range(3, 10)]


async def test_coverage_takes_ranges_relative_to_now(service: MemoryService) -> None:
    await service.know(Series("BTCUSDT", "candles", "1m"), SEGMENTS)
    async with client_of(create_app(service, clock=FakeClock(START_MS + 120 * MINUTE_MS))) as client:
        found = (await client.get("/coverage/BTCUSDT/api_candles_1m", params={"time_range": "-1h"})).json()
        assert [(s["start_ms"], s["end_ms"], s["verdict"]) for s in found["segments"]] == [
            (START_MS + 60 * MINUTE_MS, START_MS + 120 * MINUTE_MS, "stored")
        ]
        refused = await client.get("/coverage/BTCUSDT/api_candles_1m", params={"time_range": "1h"})
        assert problem(refused, 422, "invalid-input")["detail"].endswith("is not understood: did you mean -1h?")


async def test_a_series_is_listed_also_with_what_lacks_behind_its_last_record(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    first, second, third, end = (START_MS + hours * 60 * MINUTE_MS for hours in range(4))
    known = [(first, second, Verdict.CLOSED), (second, third, Verdict.STORED), (third, end, Verdict.UNKNOWN)]
    segments = [Segment(start_ms=start, end_ms=stop, verdict=verdict, collection="c") for start, stop, verdict in known]
    await service.know(Series("BTCUSDT", "candles", "1h"), segments)
    [one] = (await client.get("/series")).json()["series"]
    assert (one["start_ms"], one["end_ms"], one["holes"]) == (second, third, 0)
    assert (one["asked_start_ms"], one["asked_end_ms"]) == (second, end)
    assert [(said["verdict"], said["segments"]) for said in one["asked"]] == [("stored", 1), ("unknown", 1)]


async def test_series_are_listed_with_span_count_and_holes(client: httpx.AsyncClient, service: MemoryService) -> None:
    await service.know(Series("BTCUSDT", "candles", "1m"), SEGMENTS)
    stored, exchange = (
        Segment(start_ms=START_MS, end_ms=START_MS + 60 * MINUTE_MS, verdict=verdict, collection="c")
        for verdict in (Verdict.STORED, Verdict.EXCHANGE)
    )
    later = msgspec.structs.replace(stored, start_ms=START_MS + 120 * MINUTE_MS, end_ms=START_MS + DAY_MS)
    await service.know(Series("ETHUSDT", "candles", "1h"), [stored, later])
    await service.know(Series("XYZUSDT", "candles", "1h"), [exchange])
    page = (await client.get("/series", params={"limit": 2})).json()
    assert [one["symbol"] for one in page["series"]] == ["XYZUSDT", "ETHUSDT"]
    nothing, holed = page["series"]
    assert (nothing["start"], nothing["end_ms"], nothing["records"], nothing["complete"]) == (None, None, 0, True)
    assert (holed["type"], holed["records"], holed["holes"], holed["complete"]) == ("api_candles_1h", 23, 1, False)
    assert (holed["start"], holed["end"]) == ("2024-08-01T00:00:00Z", "2024-08-02T00:00:00Z")
    sums = [(one["verdict"], one["segments"], one["seconds"], one["records"]) for one in holed["verdicts"]]
    assert sums == [("stored", 2, 23 * 3600, 23), ("unknown", 1, 3600, 0)]
    rest = (await client.get("/series", params={"cursor": page["cursor"]})).json()
    assert [(one["symbol"], one["holes"], one["complete"]) for one in rest["series"]] == [("BTCUSDT", 2, False)]
    assert rest["cursor"] is None
    found = (await client.get(rest["series"][0]["coverage"])).json()
    assert (found["symbol"], found["type"]) == ("BTCUSDT", "api_candles_1m")
    problem(await client.get("/series", params={"cursor": "x"}), 422, "invalid-input")


async def test_series_are_found_by_prefix_and_type(client: httpx.AsyncClient, service: MemoryService) -> None:
    for symbol, interval in (("BTCUSDT", "1m"), ("BTCUSDT", "1h"), ("ETHUSDT", "1h"), ("BTCEUR", "1h")):
        await service.know(Series(symbol, "candles", interval), SEGMENTS)

    async def found(**query: str | int) -> list[tuple[str, str]]:
        listed, cursor = list[tuple[str, str]](), None
        while cursor is not None or not listed:
            page = (await client.get("/series", params=query | ({"cursor": cursor} if cursor else {}))).json()
            listed += [(one["symbol"], one["type"]) for one in page["series"]]
            if (cursor := page["cursor"]) is None:
                break
        return listed

    hours = [("BTCUSDT", "api_candles_1h"), ("BTCEUR", "api_candles_1h")]
    assert await found(prefix="btc", type="api_candles_1h") == hours
    assert await found(prefix="btc", type="api_candles_1h", limit=1) == hours
    assert await found(prefix="ETHUSDT") == [("ETHUSDT", "api_candles_1h")]
    assert len(await found(limit=3)) == 4
    assert await found(prefix="XX") == []
    problem(await client.get("/series", params={"type": "nonsense"}), 422, "invalid-input")


async def test_symbols_are_chosen_by_pattern_and_status(client: httpx.AsyncClient, service: MemoryService) -> None:
    service.exchange.listed = [
        SymbolInfo(symbol="BTCUSDT", status="TRADING", base_asset="BTC", quote_asset="USDT"),
        SymbolInfo(symbol="ETHBTC", status="BREAK", base_asset="ETH", quote_asset="BTC"),
        SymbolInfo(symbol="ETHUSDT", status="TRADING", base_asset="ETH", quote_asset="USDT"),
    ]

    async def names(**query: str) -> list[str]:
        return [one["symbol"] for one in (await client.get("/symbols", params=query)).json()["symbols"]]

    assert await names() == ["BTCUSDT", "ETHBTC", "ETHUSDT"]
    assert await names(pattern="btc") == ["BTCUSDT", "ETHBTC"]
    assert await names(pattern="btc*") == ["BTCUSDT"]
    assert await names(pattern="*usdt", status="trading") == ["BTCUSDT", "ETHUSDT"]
    assert await names(status="halt") == []
    cut = (await client.get("/symbols", params={"limit": 1})).json()
    assert cut == {
        "symbols": [{"symbol": "BTCUSDT", "status": "TRADING", "base_asset": "BTC", "quote_asset": "USDT"}],
        "total": 3,
    }


async def test_csv_has_field_names_and_the_shortest_numbers(client: httpx.AsyncClient) -> None:
    response = await client.get(RECORDS, params={"limit": "all"}, headers={"Accept": "text/csv"})

    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"] == f'attachment; filename="{COLLECTION}.csv"'
    lines = response.text.split("\n")
    assert lines[0] == (
        "symbol,interval,open_time,open,high,low,close,volume,close_time,quote_asset_volume,number_of_trades,"
        "taker_buy_base_asset_volume,taker_buy_quote_asset_volume"
    )
    assert lines[1] == (
        f"BTCUSDT,1m,{START_MS},64000.1,64001.3,63999.0,1e-08,123456789012.12346,{START_MS + 59_999},654690.621546,816,"
        "3.28471,0.0"
    )
    assert len(lines) == 27
    assert lines[-1] == ""


async def test_the_whole_as_json_or_lines_are_the_records_of_the_pages(client: httpx.AsyncClient) -> None:
    paged = (await client.get(RECORDS, params={"limit": 1000})).json()["records"]
    assert len(paged) == 25
    for form in ("jsonl", "ndjson"):
        whole = await client.get(RECORDS, params={"limit": "all", "format": form})
        assert whole.headers["content-type"] == "application/x-ndjson"
        assert whole.headers["content-disposition"].endswith('.jsonl"')
        assert [json.loads(line) for line in whole.text.splitlines()] == paged
    body = (await client.get(RECORDS, params={"limit": "all"})).json()
    assert body == {"collection": COLLECTION, "records": paged, "after": None}


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("text/csv&format=json", "application/json"),
        ("*/*", "application/json"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("application/jsonl", "application/x-ndjson"),
        ("text/*", "text/csv; charset=utf-8"),
        ("application/json;q=0.1, text/csv;q=0.9", "text/csv; charset=utf-8"),
        ("text/csv;q=0, application/json", "application/json"),
        ("text/csv;q=nonsense", "application/json"),
        ("image/png", "application/json"),
        (",;=;,q", "application/json"),
    ],
)
async def test_accept_chooses_the_format(client: httpx.AsyncClient, accept: str, media_type: str) -> None:
    accept, _, query = accept.partition("&")
    response = await client.get(f"{RECORDS}?{query}", headers={"Accept": accept})
    assert response.status_code == 200
    assert response.headers["content-type"] == media_type


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("btcusdt_api_candles_1m_2024_08_01", "candles"),
        ("btcusdt_api_trades_2024_08_01", "trades"),
        ("btcusdt_api_agg_trades_2024_08_01", "agg_trades"),
        ("empty", ""),
    ],
)
async def test_a_collection_without_records_has_the_header_of_its_type_and_nothing_else(
    client: httpx.AsyncClient, service: MemoryService, name: str, kind: str
) -> None:
    service.world.store.documents[name] = {}

    async def text(form: str, limit: str) -> str:
        return (await client.get(f"/collections/{name}/records", params={"format": form, "limit": limit})).text

    for limit in ("10", "all"):
        assert await text("csv", limit) == (",".join(kind_named(kind).columns) + "\n" if kind else "")
        assert await text("jsonl", limit) == ""
        assert json.loads(await text("json", limit)) == {"collection": name, "records": [], "after": None}


@pytest.mark.parametrize("limit", ["10", "all"])
@pytest.mark.parametrize("name", ["nothing", "%00", "a%0d%0aX-Evil:1", "x" * 300, "1st", "..", "%2e%2e%2fx"])
async def test_a_collection_that_is_not_there_is_404(client: httpx.AsyncClient, name: str, limit: str) -> None:
    response = await client.get(f"/collections/{name}/records", params={"limit": limit})

    problem(response, 404, "not-found")
    assert "x-evil" not in response.headers


@given(st.lists(st.floats(min_value=0, allow_nan=False, allow_infinity=False), min_size=1))
def test_every_double_in_csv_and_json_reads_back_to_itself(numbers: list[float]) -> None:
    batch = [(str(index), json.dumps({"symbol": "A", "n": number}).encode()) for index, number in enumerate(numbers)]
    writer = Writer(Format.CSV, "c")

    rows = csv.DictReader(io.StringIO((writer.head(batch) + writer.batch(batch)).decode()))

    assert [row["n"] for row in rows] == [repr(number) for number in numbers]
    assert [float(repr(number)) for number in numbers] == numbers


def test_records_of_another_form_are_written_under_their_own_names() -> None:
    batch = [("a", b'{"id":1,"price":0.5}'), ("b", b'{"id":2,"price":1e-9,"more":true}')]
    writer = Writer(Format.CSV, "c")

    assert writer.head(batch) + writer.batch(batch) == b"id,price,more\n1,0.5,\n2,1e-09,true\n"


async def test_a_table_of_foreign_records_has_every_field_of_all_of_them(
    client: httpx.AsyncClient, service: MemoryService, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = [b'{"a":1}', b'{"a":{"x":[1,true]},"b":2}', b'{"b":[null]}', b'{"c":"d"}']
    await service.world.store.upsert("foreign", [Document(f"k{n}", 0, body) for n, body in enumerate(bodies)])
    monkeypatch.setattr(record_reader, "BATCH", 2)
    whole = await client.get("/collections/foreign/records", params={"limit": "all", "format": "csv"})
    rows = list(csv.reader(io.StringIO(whole.text)))
    cells = [["1", "", ""], ['{"x":[1,true]}', "2", ""], ["", "[null]", ""], ["", "", "d"]]
    assert rows == [["_key", "a", "b", "c"], *([f"k{n}", *row] for n, row in enumerate(cells))]
    page = await client.get("/collections/foreign/records", params={"limit": 2, "format": "csv"})
    assert page.text.splitlines()[0] == "_key,a,b"


def test_a_field_that_the_first_line_lacks_is_never_left_out() -> None:
    writer = Writer(Format.CSV, "c")
    writer.head([("a", b'{"id":1}')])
    with pytest.raises(PermanentError, match=r"record 'b' has fields that the table lacks: more"):
        writer.batch([("b", b'{"id":2,"more":1}')])
