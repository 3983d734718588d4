"""Rows of the archive's files become the records that REST's answers become; whatever else they hold is refused."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamforge_utils.model.kinds.archive_files import ArchiveFiles
from streamforge_utils.model.kinds.candles.kline_files import KlineFiles
from streamforge_utils.model.kinds.paging import ById, ByTime, MalformedPage, Page, SentRequest
from streamforge_utils.model.kinds.registry import kind_of, series_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from tests.places import market_data

PUBLISHED, OBSERVED = 1_800_000_000_000, 1_900_000_000_000
ALL = TimeRange(0, OBSERVED)
VERSION = re.compile(rb'"_version":\d+')

TRADE = b"100,61858.01000000,0.00138000,85.36405380,1723161255343,True,True"
AGG_TRADE = b"11782578,6.00000000,1.00000000,14974844,14974844,1698623884463,True,True"
KLINE = (
    b"1722470400000,64628.01000000,64628.01000000,64592.00000000,64592.00000000,10.13279000,1722470459999,"
    b"654690.62154600,816,3.28471000,212232.36051530,0"
)
USDM = "open_time,open,high,low,close,volume,close_time,"
SERIES = {"trades": "api_trades", "agg_trades": "api_agg_trades", "candles": "api_candles_1m"}


def files_of(series: Series) -> ArchiveFiles:
    files = kind_of(series).archive
    assert files is not None
    return files


def read(type_name: str, *rows: bytes, symbol: str = "BTCUSDT", version: int = PUBLISHED) -> Page:
    series = series_of(symbol, type_name)
    return files_of(series).read(b"".join(row + b"\n" for row in rows), series, version)


def rest(type_name: str, body: Any, *, symbol: str = "BTCUSDT") -> Page:
    """The records of REST's answer."""
    series = series_of(symbol, type_name)
    paging = kind_of(series).paging
    assert paging is not None
    question = ByTime(ALL) if series.kind == "candles" else ById(0)
    asked = SentRequest(
        series=series, question=question, sent=question, limit=100_000, observed_ms=OBSERVED, local_ms=OBSERVED
    )
    return paging.read(msgspec.json.encode(body), asked)


def assert_equal(archive: Page, answer: Page) -> None:
    assert archive.positions == answer.positions
    assert archive.times == answer.times
    assert archive.keys == answer.keys
    assert [VERSION.sub(b"", value) for value in archive.values] == [VERSION.sub(b"", v) for v in answer.values]
    assert all(b'"_version":%d,' % PUBLISHED in value for value in archive.values)


def as_rest(row: Sequence[str]) -> list[int | str]:
    """A row of a file of candles as REST answers it: numbers, texts, milliseconds."""
    times = {position: int(row[position][:13]) for position in (0, 6)}
    return [times.get(at, int(text) if at == 8 else text) for at, text in enumerate(row)]


CANDLES = (
    ("spot_BTCUSDT-1m-2020-01-01.zip", "BTCUSDT", "1m", 1440),
    ("spot_BTCUSDT-1m-2020-01-02.zip", "BTCUSDT", "1m", 1440),
    ("spot_BTCUSDT-1h-2022-09-07.zip", "BTCUSDT", "1h", 24),
    ("spot_ETHUSDT-1m-2022-08-14.zip", "ETHUSDT", "1m", 1440),
    ("spot_BTCUSDT-1h-2021-02.csv", "BTCUSDT", "1h", 671),
    ("spot_BTCUSDT-1h-2021-03.csv", "BTCUSDT", "1h", 743),
    ("spot_BTCUSDT-1h-2021-12.csv", "BTCUSDT", "1h", 744),
    ("spot_BTCUSDT-1m-2025-07-13_us.csv", "BTCUSDT", "1m", 1440),
    ("spot_SOLUSDT-1m-2025-07-13_us.csv", "SOLUSDT", "1m", 1440),
    ("spot_ADABTC-1m-2021-11-27_first10rows.csv", "ADABTC", "1m", 10),
)


@pytest.mark.parametrize(("name", "symbol", "interval", "count"), CANDLES)
def test_a_recorded_file_of_candles_gives_what_rest_gives(name: str, symbol: str, interval: str, count: int) -> None:
    content = market_data("klines-vision-csv", name).read_bytes()
    if name.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            content = archive.read(archive.namelist()[0])
    type_name = f"api_candles_{interval}"
    page = read(type_name, *content.splitlines(), symbol=symbol)
    rows = [as_rest(row) for row in csv.reader(content.decode().splitlines())]
    assert len(page) == count
    assert_equal(page, rest(type_name, rows, symbol=symbol))


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("spot_trades-rest_ETHBTC_2023-03-20T0245_1000rows.json", "ETHBTC"),
        ("spot_trades-rest_BTCUSDT_2021-10-22.json", "BTCUSDT"),
    ],
)
def test_trades_of_a_file_are_those_of_a_recorded_answer(name: str, symbol: str) -> None:
    body = msgspec.json.decode(market_data("trades-and-aggtrades", name).read_bytes())
    columns = ("id", "price", "qty", "quoteQty", "time", "isBuyerMaker", "isBestMatch")
    rows = [",".join(str(row[column]) for column in columns).encode() for row in body]
    assert_equal(read("api_trades", *rows, symbol=symbol), rest("api_trades", body, symbol=symbol))


def test_aggregated_trades_of_a_file_are_those_of_a_recorded_answer() -> None:
    path = market_data("trades-and-aggtrades", "spot_aggTrades-rest_BTCUSDT_2021-10-22.json")
    body = msgspec.json.decode(path.read_bytes())
    rows = [",".join(str(row[column]) for column in "apqflTmM").encode() for row in body]
    assert_equal(read("api_agg_trades", *rows), rest("api_agg_trades", body))


def test_a_recorded_file_of_aggregated_trades_is_read() -> None:
    path = market_data("trades-and-aggtrades", "spot_aggTrades-vision_FXSUSDT_2023-10-29_5rows.csv")
    page = read("api_agg_trades", *path.read_bytes().splitlines(), symbol="FXSUSDT")
    assert page.positions == [11782578, 11782579, 11782580, 11782581, 11782582]
    assert page.times[-1] == 1698623939783
    assert msgspec.json.decode(page.values[-1]) == {
        "_key": "FXSUSDT_000011782582",
        "_version": PUBLISHED,
        "symbol": "FXSUSDT",
        "trade_id": 11782582,
        "price": "6.00000000",
        "quantity": "10.50000000",
        "first_trade_id": 14974848,
        "last_trade_id": 14974848,
        "timestamp": 1698623939783,
        "is_buyer_maker": False,
    }


@pytest.mark.parametrize(
    ("type_name", "row", "same"),
    [
        ("api_trades", TRADE, TRADE.replace(b"1723161255343", b"1723161255343999")),
        ("api_trades", TRADE, TRADE.replace(b",True,True", b",true,true")),
        ("api_trades", TRADE, TRADE.removesuffix(b",True")),
        ("api_agg_trades", AGG_TRADE, AGG_TRADE.replace(b"1698623884463", b"1698623884463000")),
        ("api_agg_trades", AGG_TRADE, AGG_TRADE.removesuffix(b",True")),
        (
            "api_candles_1m",
            KLINE,
            KLINE.replace(b"1722470400000,", b"1722470400000000,").replace(b"459999,", b"459999999,"),
        ),
        ("api_candles_1m", KLINE, KLINE.removesuffix(b",0") + b",17928899.62484339"),
    ],
)
def test_another_spelling_of_a_row_gives_the_same_record(type_name: str, row: bytes, same: bytes) -> None:
    assert row != same
    one, other = read(type_name, row), read(type_name, same)
    assert (one.values, one.times, one.keys) == (other.values, other.times, other.keys)


def with_column(row: bytes, column: int, value: bytes) -> bytes:
    values = row.split(b",")
    values[column] = value
    return b",".join(values)


BAD = [
    ("api_trades", [with_column(TRADE, 2, b"0.00000000")], "its quantity '0.00000000' is no decimal number above 0"),
    ("api_trades", [with_column(TRADE, 1, b"0")], "its price '0' is no decimal number above 0"),
    ("api_trades", [with_column(TRADE, 1, b"nan")], "its price 'nan' is no decimal number"),
    ("api_trades", [with_column(TRADE, 1, b"-1.5")], "its price '-1.5' is no decimal number"),
    ("api_trades", [with_column(TRADE, 1, b"01.5")], "its price '01.5' is no decimal number"),
    ("api_trades", [with_column(TRADE, 1, b"1e5")], "its price '1e5' is no decimal number"),
    ("api_trades", [with_column(TRADE, 1, b"1.")], "its price '1.' is no decimal number"),
    ("api_trades", [with_column(TRADE, 1, b"")], "its price '' is no decimal number"),
    ("api_trades", [with_column(TRADE, 1, b"1" * 21 + b".0")], "is no decimal number"),
    ("api_trades", [with_column(TRADE, 0, b"")], "its id '' is no whole number"),
    ("api_trades", [with_column(TRADE, 0, b"007")], "its id '007' is no whole number"),
    ("api_trades", [with_column(TRADE, 4, b"1723161255")], "is neither in milliseconds"),
    ("api_trades", [with_column(TRADE, 4, b"17231612553430")], "is neither in milliseconds"),
    ("api_trades", [with_column(TRADE, 5, b"Tru5e")], "its isBuyerMaker 'Tru5e' is neither True nor False"),
    ("api_trades", [with_column(TRADE, 6, b"yes")], "its isBestMatch 'yes' is neither True nor False"),
    ("api_trades", [TRADE + b",1"], "it has 8 columns, not 7"),
    ("api_trades", [TRADE, b"", TRADE], "it has 1 columns, not 7"),
    ("api_trades", [TRADE + b"\r"], "is neither True nor False"),
    ("api_trades", [AGG_TRADE], "columns, not 7"),
    ("api_trades", [TRADE, TRADE], "trade 100 follows 100"),
    ("api_trades", [TRADE, with_column(TRADE, 0, b"99")], "trade 99 follows 100"),
    ("api_agg_trades", [with_column(AGG_TRADE, 2, b"0.0")], "its quantity '0.0' is no decimal number above 0"),
    ("api_agg_trades", [with_column(AGG_TRADE, 4, b"14974843")], "holds the trades 14974844 to 14974843"),
    (
        "api_agg_trades",
        [AGG_TRADE, with_column(with_column(with_column(AGG_TRADE, 0, b"11782579"), 3, b"14974846"), 4, b"14974846")],
        "aggregate 11782578 ends with trade 14974844, and 11782579 begins with 14974846",
    ),
    ("api_candles_1m", [KLINE, KLINE], "open time 1722470400000 follows 1722470400000"),
    ("api_candles_1m", [with_column(KLINE, 6, b"1722470400000")], "ends before it begins"),
    ("api_candles_1m", [with_column(KLINE, 8, b"1.5")], "its number of trades '1.5' is no whole number"),
    ("api_candles_1m", [with_column(KLINE, 5, b"0.00000000")], "has 816 trades and no volume"),
    ("api_candles_1m", [KLINE.removesuffix(b",0")], "it has 11 columns, not 12"),
    ("api_candles_1m", [with_column(KLINE, 5, "１.0".encode())], "is no decimal number"),
]


@pytest.mark.parametrize(("type_name", "rows", "reason"), BAD)
def test_a_row_that_is_wrong_is_refused_with_what_is_wrong(type_name: str, rows: list[bytes], reason: str) -> None:
    with pytest.raises(MalformedPage, match=re.escape(reason)):
        read(type_name, *rows)


ROWS = {"api_trades": TRADE, "api_agg_trades": AGG_TRADE, "api_candles_1m": KLINE}


@given(
    type_name=st.sampled_from(sorted(ROWS)),
    at=st.integers(0, 200),
    text=st.sampled_from([b"", b"0", b"00", b".", b",", b"\n", b"7", b"-", b"True", b"False", b"9" * 8, b" ", b"\x00"]),
    cut=st.integers(0, 3),
)
def test_rows_together_are_read_as_one_by_one(type_name: str, at: int, text: bytes, cut: int) -> None:
    """Many rows at once take another way than one odd row does; neither takes what the other refuses."""
    row = ROWS[type_name]
    odd = row[:at] + text + row[at + cut :]
    series = series_of("BTCUSDT", type_name)
    files = files_of(series)

    def outcome(rows: bytes) -> list[bytes] | None:
        try:
            return list(files.read(rows, series, PUBLISHED).values)
        except MalformedPage:
            return None

    # A spelling that is only ever read row by row, before the odd row: it keeps the fast way from being taken.
    slow = {
        "api_trades": b"1,1,1,1,1723161255343,true",
        "api_agg_trades": b"1,1,1,1,1,1698623884463,true",
        "api_candles_1m": b"1600000000000,1,1,1,1,1,1600000000001,1,1,1,1,1.5",
    }[type_name]
    alone, behind = outcome(odd + b"\n"), outcome(slow + b"\n" + odd + b"\n")
    if behind is None:
        assert alone is None or first_position(alone) <= first_position(outcome(slow + b"\n"))
    else:
        assert alone == behind[1:]


@given(
    at=st.integers(0, 160),
    text=st.sampled_from([b"", b"0", b"00", b".", b",", b"\n", b"7", b"-", b"e5", b"9" * 20, b" ", b"\x00"]),
    cut=st.integers(0, 3),
)
def test_rows_of_numbers_are_taken_as_each_of_them_alone_is(at: int, text: bytes, cut: int) -> None:
    form = KlineFiles.rows
    odd = KLINE[:at] + text + KLINE[at + cut :]

    def columns(*rows: bytes) -> list[list[bytes]] | None:
        try:
            return form.read(b"".join(row + b"\n" for row in rows))
        except MalformedPage:
            return None

    alone = columns(odd)
    whole = alone and [[one, *column, one] for one, column in zip(KLINE.split(b","), alone, strict=True)]
    assert columns(KLINE, odd, KLINE) == whole


def first_position(values: list[bytes] | None) -> int:
    assert values is not None
    record = msgspec.json.decode(values[0])
    return int(record.get("trade_id", record.get("open_time")))


@pytest.mark.parametrize(
    ("type_name", "folder", "place", "stem", "days"),
    [
        ("api_trades", "trades", "BTCUSDT", "BTCUSDT-trades", True),
        ("api_agg_trades", "aggTrades", "BTCUSDT", "BTCUSDT-aggTrades", True),
        ("api_candles_1m", "klines", "BTCUSDT/1m", "BTCUSDT-1m", True),
        ("api_candles_1d", "klines", "BTCUSDT/1d", "BTCUSDT-1d", True),
        ("api_candles_3d", "klines", "BTCUSDT/3d", "BTCUSDT-3d", False),
        ("api_candles_1w", "klines", "BTCUSDT/1w", "BTCUSDT-1w", False),
        ("api_candles_1M", "klines", "BTCUSDT/1mo", "BTCUSDT-1mo", False),
    ],
)
def test_where_the_files_of_a_series_lie(type_name: str, folder: str, place: str, stem: str, days: bool) -> None:
    series = series_of("BTCUSDT", type_name)
    files = files_of(series)
    assert (files.folder, files.place(series), files.stem(series)) == (folder, place, stem)
    assert files.has_days(series) is days


def test_aggregates_that_do_not_meet_across_a_seam_are_noticed() -> None:
    kind = kind_of(series_of("FXSUSDT", "api_agg_trades"))
    first = read("api_agg_trades", AGG_TRADE).values[0]
    meets = with_column(with_column(with_column(AGG_TRADE, 0, b"11782579"), 3, b"14974845"), 4, b"14974845")
    assert kind.break_between(first, read("api_agg_trades", meets).values[0]) == ""
    torn = with_column(meets, 4, b"14974899")
    torn = with_column(torn, 3, b"14974899")
    assert "begins with 14974899" in kind.break_between(first, read("api_agg_trades", torn).values[0])


@pytest.mark.parametrize(
    ("kind", "header"),
    [
        ("trades", "id,price,qty,quote_qty,time,is_buyer_maker"),
        ("trades", "id,price,qty,quoteQty,time,isBuyerMaker,isBestMatch\r"),
        ("trades", "Trade Id,Price,Quantity,Quote Qty,Time,Is Buyer Maker"),
        ("agg_trades", "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"),
        ("candles", USDM + "quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"),
        ("candles", USDM + "quote_asset_volume,number_of_trades,taker_buy_base_asset_volume,"
         "taker_buy_quote_asset_volume,ignore"),
    ],
)  # fmt: skip
def test_a_header_of_the_columns_is_taken(kind: str, header: str) -> None:
    files_of(series_of("BTCUSDT", SERIES[kind])).check_header(header.encode())


@pytest.mark.parametrize(
    ("kind", "header"),
    [
        ("trades", "id,qty,price,quote_qty,time,is_buyer_maker"),
        ("trades", "id,price,qty,quote_qty,time"),
        ("trades", "id,price,qty,quote_qty,time,is_buyer_maker,is_best_match,more"),
        ("agg_trades", "id,price,qty,quote_qty,time,is_buyer_maker"),
        ("candles", "high,low"),
    ],
)
def test_a_header_of_other_columns_is_refused(kind: str, header: str) -> None:
    with pytest.raises(MalformedPage, match="names other columns than"):
        files_of(series_of("BTCUSDT", SERIES[kind])).check_header(header.encode())
