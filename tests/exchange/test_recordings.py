"""Recorded files are served field by field as they are."""

from __future__ import annotations

import csv
import io
import shutil
import zipfile
from pathlib import Path

import msgspec
import pytest

from streamforge.exchange.config import ExchangeConfig
from streamforge.exchange.exchange_server import serve
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.timeranges import TimeRange
from tests.exchange.conftest import HOUR, MINUTE, Row, ms, peer
from tests.places import market_data

LATER = ms("2026-01-01")
LINES = [
    f"{1577836800000 + n * MINUTE},7195.24,7196.25,7183.14,7186.68,51.64,"
    f"{1577836859999 + n * MINUTE},3712.1,493,19.5,140.8,0"
    for n in range(4)
]


def expected(text: str) -> list[Row]:
    """The rows of a CSV in the form of the REST API; microseconds are cut off."""
    rows: list[Row] = []
    for cells in csv.reader(io.StringIO(text)):
        opened, closed = (int(cells[n]) if len(cells[n]) == 13 else int(cells[n]) // 1000 for n in (0, 6))
        rows.append([opened, *cells[1:6], closed, cells[7], int(cells[8]), *cells[9:12]])
    return rows


async def served(folder: Path, symbol: str, interval: str, start: int, end: int) -> list[Row]:
    async with peer(ExchangeConfig(replay=folder), LATER) as exchange:
        answer = await exchange.get("/oracle/klines", symbol=symbol, interval=interval, startTime=start, endTime=end)
        return answer.rows


def folder_with(tmp_path: Path, *names: str) -> Path:
    for name in names:
        shutil.copyfile(market_data(*name.split("/")), tmp_path / Path(name).name)
    return tmp_path


async def test_several_files_of_a_series_merge_and_holes_stay_holes(tmp_path: Path) -> None:
    names = [f"klines-vision-csv/spot_BTCUSDT-1h-2021-{month}.csv" for month in ("02", "03", "12")]
    folder = folder_with(tmp_path, *names)
    text = "".join((folder / Path(name).name).read_text() for name in names)
    assert await served(folder, "BTCUSDT", "1h", 0, LATER) == sorted(expected(text))
    async with peer(ExchangeConfig(replay=folder), LATER) as exchange:
        hole = ms("2021-02-11T04:00")
        around = await exchange.klines(interval="1h", startTime=hole - HOUR, limit=2)
        assert around.opens == [hole - HOUR, hole + HOUR]
        assert around.rows[0][6] == 1_613_014_854_773
        newest = await exchange.klines(interval="1h", endTime=hole + HOUR, limit=2)
        assert newest.opens == around.opens


async def test_answers_of_the_api_are_served_again(tmp_path: Path) -> None:
    pages = [
        "klines-rest-json/spot_BTCUSDT-1h_2020-04-30T21_2020-06-11T12_page1.json",
        "klines-rest-json/spot_BTCUSDT-1h_2020-06-11T13_2020-07-01T03_page2_gap.json",
    ]
    folder = folder_with(tmp_path, *pages)
    recorded = [msgspec.json.decode((folder / Path(page).name).read_bytes()) for page in pages]
    async with peer(ExchangeConfig(replay=folder), LATER) as exchange:
        # the recorded requests: their answers are these files
        first = await exchange.klines(interval="1h", startTime=1588280400000, endTime=1591880400000, limit=1000)
        assert first.rows == recorded[0]
        second = await exchange.klines(interval="1h", startTime=1591880400000, endTime=1593572400000, limit=1000)
        assert second.rows == recorded[1]


async def test_a_window_off_the_grid_gives_what_binance_gave(tmp_path: Path) -> None:
    name = "klines-rest-json/spot_BTCUSDT-1m_2020-05-06T0442_2020-05-06T0541.json"
    recorded = msgspec.json.decode(market_data(*name.split("/")).read_bytes())
    async with peer(ExchangeConfig(replay=folder_with(tmp_path, name)), LATER) as exchange:
        assert (await exchange.klines(startTime=1588740088000, endTime=1588743688000)).rows == recorded
    async with peer() as exchange:
        seeded = await exchange.klines(startTime=1588740088000, endTime=1588743688000)
        assert seeded.opens == [row[0] for row in recorded]


async def test_the_whole_collection_is_sorted_out() -> None:
    folder = market_data()
    async with peer(ExchangeConfig(replay=folder), LATER) as exchange:
        of_rows, of_streams = {"ADABTC", "SOLUSDT"}, {"BLZETH", "DOTUSDT", "LRCBTC", "NKNUSDT", "RUNEEUR", "WAVESUSDT"}
        assert exchange.state.symbols.keys() == of_rows | of_streams | {"BTCUSDT", "ETHUSDT"}
        ignored = exchange.state.ignored
        assert ignored["klines-vision-csv/usdm-futures_BTCUSDT-1m-2022-09-05_header.zip"] == "not of the spot market"
        assert "klines-vision-csv/spot_BTCUSDT-1h-2021-02.csv" not in ignored
        day = TimeRange(ms("2022-09-05"), ms("2022-09-06"))
        assert await exchange.oracle(day) == []
        assert (await exchange.klines(symbol="ETHUSDT", interval="5m")).rows == []
        answer = await exchange.get("/api/v3/exchangeInfo", symbol="ADABTC")
        symbols = answer.json["symbols"]
        assert isinstance(symbols, list)
        assert (symbols[0]["baseAsset"], symbols[0]["quoteAsset"]) == ("ADA", "BTC")


async def test_it_is_as_if_live(tmp_path: Path) -> None:
    (tmp_path / "BTCUSDT-1m-2020-01-01.csv").write_text("\n".join(LINES))
    start = ms("2020-01-01")
    async with peer(ExchangeConfig(replay=tmp_path), start + 150_000) as exchange:
        assert (await exchange.klines()).opens == [start, start + MINUTE, start + 2 * MINUTE]
        assert len(await exchange.oracle(TimeRange(0, LATER))) == 2


async def test_a_header_row_and_line_ends_of_windows_are_understood(tmp_path: Path) -> None:
    text = "\r\n".join(["open_time,open,high,low,close", *LINES, ""])
    with zipfile.ZipFile(tmp_path / "BTCUSDT-1m-2020-01-01.zip", "w") as archive:
        archive.writestr("BTCUSDT-1m-2020-01-01.csv", text)
    assert await served(tmp_path, "BTCUSDT", "1m", 0, LATER) == expected("\n".join(LINES))


async def test_the_archive_wins_over_an_answer_that_was_not_over(tmp_path: Path) -> None:
    row = expected(LINES[0])[0]
    (tmp_path / "BTCUSDT-1m-2020-01-01.csv").write_text(LINES[0])
    following: Row = [int(row[0]) + MINUTE, *row[1:6], int(row[6]) + MINUTE, *row[7:]]
    unfinished = [[*row[:4], "7000.00", *row[5:]], following]
    (tmp_path / "BTCUSDT-1m-2020-01-01T00_live.json").write_bytes(msgspec.json.encode(unfinished))
    assert await served(tmp_path, "BTCUSDT", "1m", 0, LATER) == [row, following]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("BTCUSDT-1m-2020-01-01.csv", "\n".join([*LINES[:2], LINES[2].replace("7196.25", "NaN")]), "line 3"),
        ("BTCUSDT-1m-2020-01-01.csv", LINES[0].rpartition(",")[0], "line 1"),
        ("BTCUSDT-1m-2020-01-01.csv", LINES[0].replace("1577836800000", "1577836800"), "line 1"),
        ("BTCUSDT-1m-2020-01-01.csv", LINES[0].replace("1577836859999", "1577836799999"), "line 1.*closes at"),
        ("BTCUSDT-1m-2020-01-01.json", '[[1577836800000,"1"]]', "row 1"),
        ("BTCUSDT-1m-2020-01-01.json", '{"code":-1121}', "no answer of the REST API"),
        ("BTCUSDT-1m-2020-01-01.zip", "PK\x03\x04 broken", "a broken zip"),
    ],
)
async def test_a_broken_file_is_named_with_its_line(tmp_path: Path, name: str, content: str, complaint: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(PermanentError, match=rf"{name}.*{complaint}"):
        await serve(ExchangeConfig(replay=tmp_path))


async def test_a_zip_whose_bytes_were_changed_is_refused(tmp_path: Path) -> None:
    name = "spot_BTCUSDT-1m-2020-01-01.zip"
    folder = folder_with(tmp_path, f"klines-vision-csv/{name}", f"klines-vision-csv/{name}.CHECKSUM")
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(PermanentError, match=r"SHA-256.*CHECKSUM"):
        await serve(ExchangeConfig(replay=folder))
    (folder / f"{name}.CHECKSUM").unlink()
    content = bytearray((folder / name).read_bytes())
    content[5000] ^= 0xFF
    (folder / name).write_bytes(content)
    with pytest.raises(PermanentError, match="a broken zip"):
        await serve(ExchangeConfig(replay=folder))


@pytest.mark.parametrize("name", ["BTCUSDT-bookTicker-2020-01-01.zip", "BTCUSDT-7m-2020-01-01.csv", "notes.txt"])
async def test_a_folder_without_recordings_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    with pytest.raises(PermanentError, match=r"nothing of the spot market in it \(1 other"):
        await serve(ExchangeConfig(replay=tmp_path))


async def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="no such folder"):
        await serve(ExchangeConfig(replay=tmp_path / "none"))
