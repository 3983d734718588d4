"""Recorded data served as the files of an archive, through all of StreamForge into an export, field by field."""

from __future__ import annotations

import csv
import re
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow
import pytest

from streamforge.cli.datasets import parquet_part
from streamforge.cli.main import main
from streamforge.cli.times import Times
from streamforge_utils.model.kinds.registry import kind_named
from tests.e2e import rig, test_recordings, test_trades
from tests.e2e.rig import Json, Manager
from tests.e2e.test_trades import Recorded

CANDLE = (
    *("open_time", "open", "high", "low", "close", "volume", "close_time", "quote_asset_volume", "number_of_trades"),
    *("taker_buy_base_asset_volume", "taker_buy_quote_asset_volume"),
)
AMOUNTS = ("quote_asset_volume", "taker_buy_quote_asset_volume")
"""Of 17 digits and more: the nearest double is stored."""
TRADE = ("trade_id", "price", "quantity", None, "timestamp", "is_buyer_maker", None)
AGG_TRADE = ("trade_id", "price", "quantity", "first_trade_id", "last_trade_id", "timestamp", "is_buyer_maker", None)
OUTAGE = "spot_trade-events-csv_WAVESUSDT_2019-06-07_outage.csv.gz"
LOST = "spot_trade-events-csv_WAVESUSDT_2019-06-08_lost-trades.csv.gz"
LACKED = "WAVESUSDT-trades-2019-06-08.zip lacks trade_id 975548 to 975550"

Cells = dict[str, Decimal | str]


def exact(value: object) -> Decimal | str:
    """A number as the decimal number that its text is; a word in lower case."""
    text = str(value)
    return Decimal(text) if re.fullmatch(r"[0-9][0-9.e+-]*", text) else text.lower()


def exported(manager: Manager, queue_id: str, folder: Path) -> list[Cells]:
    """The rows that `streamforge export` writes of a workflow; its exit code says whether that is all."""
    output = folder / f"{queue_id}.csv"
    code = 0 if manager.show(queue_id)["status"] == "finished" else 1
    assert main(["export", queue_id, "--data", str(manager.data), "--output", str(output)]) == code
    with output.open(newline="") as text:
        return [{name: exact(cell) for name, cell in row.items()} for row in csv.DictReader(text)]


@contextmanager
def serving(folder: Path, data: Path) -> Iterator[tuple[rig.Exchange, Manager]]:
    """An exchange that serves the recordings in a folder, and a manager that knows its archive."""
    with (
        rig.exchange("--replay", str(folder)) as exchange,
        rig.manager(data, exchange.url, STREAMFORGE_ARCHIVE_URL=exchange.url) as manager,
    ):
        yield exchange, manager


def put(folder: Path, *files: Recorded, before: bool = True) -> Path:
    """The files as an exchange replays them. before: with a trade right before the first one."""
    folder.mkdir()
    for file in files:
        (folder / file.served_as).write_bytes(file.content)
    if before:
        first = files[0]
        cells = ",".join(str(first.before[member]) for member in first.members)
        (folder / f"{Path(first.served_as).stem}-before.csv").write_text(cells)
    return folder


def expected(file: Recorded, rows: list[Json]) -> list[Cells]:
    names = TRADE if file.type == "api_trades" else AGG_TRADE
    return [
        {"symbol": exact(file.symbol)}
        | {name: exact(row[member]) for name, member in zip(names, file.members, strict=True) if name is not None}
        for row in rows
    ]


def candles_of(symbol: str, interval: str, rows: Sequence[Sequence[object]]) -> list[Cells]:
    return [
        {"symbol": exact(symbol), "interval": exact(interval)}
        | {
            column: exact(repr(float(str(cell))) if column in AMOUNTS else cell)
            for column, cell in zip(CANDLE, row[:11], strict=True)
        }
        for row in rows
    ]


def span_of(*files: Recorded) -> str:
    ends = files[0].seconds[0], files[-1].seconds[1]
    return ":".join(f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%SZ}" for second in ends)


def assert_from_files(workflow: Json) -> None:
    """It was loaded from the archive alone."""
    assert {part["source"] for part in workflow["parts"]} == {"archive"}
    assert [one["target"] for one in workflow["steps"] if "loader" in one["target"]] == ["loader-producer"]


@pytest.fixture(scope="module")
def candles(market_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Manager, dict[str, str]]]:
    """Every file of candles loaded from the archive, all at once: the queue_id of each."""
    with serving(market_data, tmp_path_factory.mktemp("candles") / "data") as (_, manager):
        yield (
            manager,
            {
                name: manager.start_load(one.symbol, f"api_candles_{one.interval}", one.span, source="archive")[
                    "queue_id"
                ]
                for name, one in test_recordings.all_recordings().items()
            },
        )


@pytest.mark.parametrize("name", test_recordings.FILES)
def test_every_candle_of_a_file_of_the_archive_is_exported_as_it_was_recorded(
    name: str, candles: tuple[Manager, dict[str, str]], tmp_path: Path
) -> None:
    manager, started = candles
    one = test_recordings.all_recordings()[name]
    workflow = manager.wait(started[name])
    assert_from_files(workflow)
    if name.endswith(".zip"):
        (cached,) = manager.data.glob(f"**/*-{Path(name).name.removeprefix('spot_')}")
        assert cached.read_bytes() == (test_recordings.folder() / name).read_bytes(), "the file as it was published"
    assert exported(manager, started[name], tmp_path) == candles_of(one.symbol, one.interval, one.rows)
    # What a file lacks amid its rows only requests can prove; what comes after its last row is not of the file.
    inner = [hole for hole in one.holes if hole[1] < one.end_ms]
    segments = [found for found in manager.coverage(started[name]) if found["verdict"] != "stored"]
    assert [(found["start_ms"], found["end_ms"]) for found in segments] == one.holes
    assert [found["verdict"] for found in segments] == [
        "unknown" if hole in inner else "exchange" for hole in one.holes
    ]
    assert workflow["status"] == ("error" if inner else "finished")
    assert all(found["cause"].endswith(".zip lacks it") for found in segments[: len(inner)])
    if inner:
        assert segments[0]["cause"] in workflow["failure"]["reason"]
        assert workflow["failure"]["next_step"].startswith("load it again without naming a source")


def test_a_file_with_a_header_row_is_exported_as_it_was_recorded(market_data: Path, tmp_path: Path) -> None:
    # Files of spot have had no header so far: that of another market is served as one of them.
    recorded = market_data / "klines-vision-csv" / "usdm-futures_BTCUSDT-1m-2022-09-05_header.zip"
    (tmp_path / "replay").mkdir()
    shutil.copy(recorded, tmp_path / "replay" / "BTCUSDT-1m-2022-09-05.zip")
    with zipfile.ZipFile(recorded) as archive:
        header, *rows = csv.reader(archive.read("BTCUSDT-1m-2022-09-05.csv").decode().splitlines())
    assert (header[0], len(rows)) == ("open_time", 1440)
    with serving(tmp_path / "replay", tmp_path / "data") as (_, manager):
        workflow = manager.load("BTCUSDT", "api_candles_1m", "2022-09-05", source="archive")
        assert workflow["status"] == "finished"
        assert_from_files(workflow)
        assert exported(manager, workflow["queue_id"], tmp_path) == candles_of("BTCUSDT", "1m", rows)


def test_a_trade_takes_few_bytes_in_a_data_set(market_data: Path, tmp_path: Path) -> None:
    # Of a coin that is traded all the time 4, of one that is seldom traded 8; as JSON it has some 170.
    assert market_data == test_recordings.folder()
    file = test_trades.FILES[OUTAGE](OUTAGE)
    line = b'{"symbol":"%b","trade_id":%d,"price":%b,"quantity":%b,"timestamp":%d,"is_buyer_maker":%b}\n'
    columns = parquet_part.Columns(pyarrow, kind_named("trades"), Times.TIMESTAMP)
    written = parquet_part.ParquetPart(tmp_path / "trades.parquet", columns)
    for row in file.rows:
        maker = b"true" if row["isBuyerMaker"] else b"false"
        price, quantity = row["price"].encode(), row["qty"].encode()
        written.lines(line % (file.symbol.encode(), row["id"], price, quantity, row["time"], maker))
    written.close()
    assert written.rows == len(file.rows) == 6820
    assert 3 < written.size / written.rows < 8


@pytest.mark.parametrize("name", test_trades.SOME)
def test_every_trade_of_a_file_of_the_archive_is_exported_as_it_was_recorded(
    name: str, market_data: Path, tmp_path: Path
) -> None:
    assert market_data == test_recordings.folder()
    file = test_trades.FILES[name](name)
    with serving(put(tmp_path / "replay", file), tmp_path / "data") as (_, manager):
        workflow = manager.load(file.symbol, file.type, span_of(file), source="archive")
        assert_from_files(workflow)
        assert exported(manager, workflow["queue_id"], tmp_path) == expected(file, [file.before, *file.rows])
        segments = manager.coverage(workflow["queue_id"])
        if name != LOST:
            assert (workflow["status"], file.lost, [one["verdict"] for one in segments]) == ("finished", [], ["stored"])
            assert segments[0]["records"] == 1 + len(file.rows)
            return
        assert [(one["verdict"], one.get("first_id"), one.get("last_id")) for one in segments] == [
            ("stored", 972528, 975547),
            ("unknown", None, None),
            ("stored", 975551, 976055),
        ]
        assert segments[1]["cause"].endswith(LACKED)
        assert (workflow["status"], LACKED in workflow["failure"]["reason"]) == ("error", True)


def test_files_and_requests_together_prove_an_outage_and_lost_trades(market_data: Path, tmp_path: Path) -> None:
    assert market_data == test_recordings.folder()
    outage, lost = (test_trades.events(name) for name in (OUTAGE, LOST))
    with serving(put(tmp_path / "replay", outage, lost), tmp_path / "data") as (_, manager):
        workflow = manager.loaded("WAVESUSDT", "api_trades", span_of(outage, lost), source="auto")
        assert workflow["parts"][0]["source"] == "archive"
        assert {LACKED in remark for remark in workflow["remarks"]} == {True}
        rows = [outage.before, *outage.rows, *lost.rows]
        assert exported(manager, workflow["queue_id"], tmp_path) == expected(lost, rows)
        segments = manager.coverage(workflow["queue_id"])
        assert [(one["verdict"], one["first_id"], one["last_id"]) for one in segments] == [
            ("stored", outage.before["id"], 975547),
            ("exchange", 975548, 975550),
            ("stored", 975551, 976055),
        ]


@pytest.mark.long
def test_a_day_that_was_recorded_in_part_is_told_as_unknown_before_its_first_trade(
    market_data: Path, tmp_path: Path
) -> None:
    assert market_data == test_recordings.folder()
    file = test_trades.vision("spot_aggTrades-vision_FXSUSDT_2023-10-29_5rows.csv")
    with serving(put(tmp_path / "replay", file, before=False), tmp_path / "data") as (_, manager):
        workflow = manager.load("FXSUSDT", "api_agg_trades", "2023-10-29", source="archive")
        assert_from_files(workflow)
        why = "the exchange gives no record before id 11782578"
        assert (workflow["status"], why in workflow["failure"]["reason"]) == ("error", True)
        assert exported(manager, workflow["queue_id"], tmp_path) == expected(file, file.rows)
        first_ms = file.rows[0]["T"]
        segments = manager.coverage(workflow["queue_id"])
        assert [(one["verdict"], one["end_ms"], one.get("cause")) for one in segments] == [
            ("unknown", first_ms, why),
            ("stored", workflow["time_range"]["end_ms"], None),
        ]
