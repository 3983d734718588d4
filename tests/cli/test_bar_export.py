"""export --resample and --candles, and compare: candles that are made of stored records, beside the exchange's own."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import polars
import pyarrow.parquet as parquet
import pytest

from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore
from streamforge_utils.ports.store import Document
from tests.cli import support
from tests.cli.support import COLLECTION, CSV_HEADER, MINUTE_MS, START_MS, TYPE, Cli, Json, expected, oracle

SIX_HOURS = "2024-08-01:2024-08-01T06:00Z"
SERIES = ("BTCUSDT", TYPE, SIX_HOURS)
HOUR = "2024-08-01T01:00Z:2024-08-01T02:00Z"


def longer(rows: Sequence[list[Any]], minutes: int, interval: str) -> list[Json]:
    """Candles of some minutes each, from the exchange's own text, added as decimal numbers."""
    found = []
    for first in range(0, len(rows), minutes):
        some = rows[first : first + minutes]
        sums = [str(sum(Decimal(row[at]) for row in some)) for at in (5, 7, 9, 10)]
        high, low = (str(choose(Decimal(row[at]) for row in some)) for choose, at in ((max, 2), (min, 3)))
        one = [some[0][0], some[0][1], high, low, some[-1][4], sums[0], some[-1][6], sums[1]]
        found.append([*one, sum(row[8] for row in some), *sums[2:], "0"])
    return expected(found, interval=interval)


def of_lines(text: str) -> list[Json]:
    return [json.loads(line) for line in text.splitlines()]


def test_longer_candles_are_the_same_in_each_format_and_open_and_close_as_the_exchanges_own(
    loaded: Cli, exchange_url: str, tmp_path: Path
) -> None:
    end_ms = START_MS + 360 * MINUTE_MS
    wanted = longer(oracle(exchange_url, START_MS, end_ms), 5, "5m")
    ran = loaded("export", *SERIES, "--resample", "5m", "--format", "jsonl").ok()
    assert of_lines(ran.out) == wanted
    assert ran.err == f"72 candles of 5m from BTCUSDT {TYPE} {SIX_HOURS}\n"
    rows = list(csv.DictReader(io.StringIO(loaded("export", *SERIES, "--resample", "5m", "--time", "iso").ok().out)))
    assert ",".join(rows[0]) == CSV_HEADER
    assert (rows[1]["open_time"], rows[1]["close_time"]) == ("2024-08-01T00:05:00.000Z", "2024-08-01T00:09:59.999Z")
    assert [float(row["volume"]) for row in rows] == [row["volume"] for row in wanted]
    file = tmp_path / "a.parquet"
    told = loaded("export", *SERIES, "--resample", "5m", "-o", str(file), "--time", "ms", "--json").ok().json
    assert (told["rows"], told["bars"]["left_out"], told["bars"]["interval"]) == (72, 0, "5m")
    assert parquet.read_table(file).to_pylist() == wanted
    # The exchange's own longer candles have highs and volumes of their own here; they open and close alike.
    own = expected(oracle(exchange_url, START_MS, end_ms, interval="5m"), interval="5m")
    for name in ("open_time", "open", "close", "close_time"):
        assert [row[name] for row in wanted] == [row[name] for row in own], name


@pytest.mark.e2e
def test_a_candle_that_reaches_into_a_hole_is_left_out_or_marked(cli: Cli, tmp_path: Path) -> None:
    hole = "BTCUSDT@2024-08-01T00:07:00Z:2024-08-01T00:09:00Z"
    with support.exchange("--hole", hole) as url:
        cli.exchange = url
        cli.load("BTCUSDT", TYPE, "2024-08-01:2024-08-01T00:22Z")
        whole = ("BTCUSDT", TYPE, "2024-08-01:2024-08-01T00:22Z", "--resample", "5m")
        ran = cli("export", *whole, "--format", "jsonl").ok()
        assert [(row["open_time"] - START_MS) // MINUTE_MS for row in of_lines(ran.out)] == [0, 10, 15]
        assert "  left out: 2 candles of which a part is not stored\n" in ran.err
        assert "2024-08-01T00:05Z to 2024-08-01T00:10Z\n" in ran.err
        marked = of_lines(cli("export", *whole, "--format", "jsonl", "--partial").ok().out)
        assert [row["complete"] for row in marked] == [True, False, True, True, False]
        fine = of_lines(cli("export", *whole[:3], "--format", "jsonl").ok().out)
        assert [row["number_of_trades"] for row in marked][1] == sum(row["number_of_trades"] for row in fine[5:8])
        header, *lines = cli("export", *whole, "--partial").ok().out.splitlines()
        assert header == f"{CSV_HEADER},complete"
        assert [line.rpartition(",")[2] for line in lines] == ["true", "false", "true", "true", "false"]
        file = tmp_path / "a.parquet"
        cli("export", *whole, "--partial", "-o", str(file)).ok()
        assert parquet.read_table(file).column("complete").to_pylist() == [row["complete"] for row in marked]


@pytest.mark.e2e
@pytest.mark.parametrize("type_name", ["api_trades", "api_agg_trades"])
def test_candles_of_trades_are_the_exchanges_own_and_a_difference_is_told(
    cli: Cli, exchange_url: str, type_name: str
) -> None:
    cli.load("BTCUSDT", type_name, HOUR)
    cli.load("BTCUSDT", TYPE, HOUR)
    made = cli("export", "BTCUSDT", type_name, HOUR, "--candles", "1m", "--format", "jsonl").ok()
    start_ms = START_MS + 60 * MINUTE_MS
    assert of_lines(made.out) == expected(oracle(exchange_url, start_ms, start_ms + 60 * MINUTE_MS))
    ran = cli("compare", "BTCUSDT", type_name, TYPE, HOUR).ok()
    assert (ran.out, ran.err) == ("", "60 candles of 1m compared: 60 equal, 0 with a difference\n")
    # The same from shorter candles as from trades.
    five = [("BTCUSDT", type_name, HOUR, "--candles", "5m"), ("BTCUSDT", TYPE, HOUR, "--resample", "5m")]
    by_trades, by_candles = (cli("export", *one).ok().out for one in five)
    assert by_trades == by_candles

    (candle,) = of_lines(
        cli("export", "BTCUSDT", TYPE, "2024-08-01T01:30Z:2024-08-01T01:31Z", "--format", "jsonl").ok().out
    )
    changed = candle | {"close": candle["close"] + 1, "number_of_trades": candle["number_of_trades"] + 2}

    async def change() -> None:
        store = EmbeddedStore(cli.data / "store")
        key = f"BTCUSDT_1m_{candle['open_time']}"
        (name,) = [one for one in await store.names() if "candles" in one]
        await store.upsert(name, [Document(key, 2**50, msgspec.json.encode(changed))])
        await store.close()

    asyncio.run(change())
    ran = cli("compare", "BTCUSDT", type_name, TYPE, HOUR)
    assert ran.code == 1
    assert ran.err == (
        "60 candles of 1m compared: 59 equal, 1 with a difference\n  close in 1, number_of_trades in 1\n"
    )
    told = cli("compare", "BTCUSDT", type_name, TYPE, HOUR, "--json").json
    assert [(one["time"], one["field"], one["made"], one["stored"]) for one in told["differences"]] == [
        ("2024-08-01T01:30:00.000Z", "close", candle["close"], changed["close"]),
        ("2024-08-01T01:30:00.000Z", "number_of_trades", candle["number_of_trades"], changed["number_of_trades"]),
    ]


@pytest.mark.e2e
def test_what_one_of_two_series_lacks_is_not_compared(cli: Cli) -> None:
    cli.load("BTCUSDT", "api_agg_trades", "2024-08-01T01:00Z:2024-08-01T01:10:30Z")
    cli.load("BTCUSDT", TYPE, "2024-08-01T01:05Z:2024-08-01T01:30Z")
    told = cli("compare", "BTCUSDT", "api_agg_trades", TYPE, "--json").ok().json
    assert (told["compared"], told["equal"], told["only_made"], told["only_stored"]) == (5, 5, 5, 1)
    assert told["bars"]["left_out"] == 1
    ran = cli("compare", "BTCUSDT", "api_agg_trades", "api_candles_5m")
    assert (ran.code, "nothing is known of BTCUSDT api_candles_5m" in ran.err) == (1, True)
    ran = cli("compare", "BTCUSDT", "api_agg_trades", TYPE, "2024-08-01T01:00Z:2024-08-01T01:05Z")
    lacks = "5 more were made, and the exchange's own are not stored; load the rest with `streamforge load BTCUSDT"
    assert (ran.code, f"{lacks} {TYPE} 2024-08-01T01:00Z:2024-08-01T01:05Z --data" in ran.err) == (1, True)


@pytest.mark.e2e
def test_a_data_set_of_candles_is_the_same_as_a_file_of_them_and_grows(cli: Cli, tmp_path: Path) -> None:
    cli.load("BTCUSDT", "api_candles_1h", "2024-07-31:2024-08-02T12:00Z")
    folder, file = tmp_path / "set", tmp_path / "all.parquet"
    options = ("--resample", "4h", "--time", "ms")
    what = ("BTCUSDT", "api_candles_1h", "2024-07-31:2024-08-02T12:00Z")
    told = cli("export", *what, *options, "--partition", "day", "-o", str(folder), "--json").ok().json
    assert (told["rows"], told["partitions_written"], told["bars"]["left_out"]) == (15, 3, 0)
    cli("export", *what, *options, "-o", str(file)).ok()

    def read() -> list[Json]:
        rows = polars.read_parquet(f"{folder}/**/*.parquet", hive_partitioning=True).sort("open_time").to_dicts()
        return [{name: row[name] for name in row if name != "day"} for row in rows]

    assert read() == parquet.read_table(file).to_pylist()
    cli.load("BTCUSDT", "api_candles_1h", "2024-08-02T12:00Z:2024-08-03")
    told = cli("export", *what[:2], *options, "--partition", "day", "-o", str(folder), "--json").ok().json
    assert (told["rows"], told["partitions_written"], told["partitions_unchanged"]) == (18, 1, 2)
    ran = cli("export", *what[:2], "--partition", "day", "--time", "ms", "-o", str(folder))
    assert "is a data set with the made candles of 4h, not none" in ran.err


@pytest.mark.long
def test_flat_candles_of_trades_go_on_from_the_day_before(cli: Cli, tmp_path: Path) -> None:
    """In downtime the ids go on: nothing lacks, and each minute without a trade has the last price before it."""
    hole = "BTCUSDT@2024-08-01T23:58:00Z:2024-08-02T00:02:00Z"
    span = "2024-08-01T23:57Z:2024-08-02T00:03Z"
    with support.exchange("--hole", hole) as url:
        cli.exchange = url
        cli.load("BTCUSDT", "api_agg_trades", span)
    rows = of_lines(cli("export", "BTCUSDT", "api_agg_trades", span, "--candles", "1m", "--format", "jsonl").ok().out)
    assert len(rows) == 6
    for row in rows[1:5]:
        assert {row[name] for name in ("open", "high", "low", "close")} == {rows[0]["close"]}
        assert (row["number_of_trades"], row["volume"], row["quote_asset_volume"]) == (0, 0.0, 0.0)
    folder = tmp_path / "set"
    options = ("--candles", "1m", "--partition", "day", "--time", "ms", "-o", str(folder))
    told = cli("export", "BTCUSDT", "api_agg_trades", span, *options, "--json").ok().json
    assert (told["rows"], told["bars"]["unpriced"]) == (6, 0)
    read = polars.read_parquet(f"{folder}/**/*.parquet", hive_partitioning=True).sort("open_time").to_dicts()
    assert [row["close"] for row in read] == [row["close"] for row in rows]
    later = ("BTCUSDT", "api_agg_trades", "2024-08-02:2024-08-02T00:03Z", "--candles", "1m", "--format", "jsonl")
    assert of_lines(cli("export", *later).ok().out) == rows[3:]
    cli("rm", cli("queues", "--json").ok().json["queues"][0]["queue_id"], "--data-too", "--yes").ok()
    with support.exchange("--hole", hole) as url:
        cli.exchange = url
        cli.load("BTCUSDT", "api_agg_trades", "2024-08-02:2024-08-02T00:03Z")
    alone = cli("export", *later).ok()
    assert of_lines(alone.out) == rows[5:]
    assert "  left out: 2 candles without a trade, the price before not known\n" in alone.err


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ((*SERIES, "--resample", "3d"), "interval '3d': where such bars open only the exchange tells"),
        ((*SERIES, "--resample", "1m"), "interval 1m is that of the candles already"),
        ((*SERIES, "--resample", "1s"), "interval 1s cannot be made from 1m: it is not longer than 1m"),
        ((*SERIES, "--candles", "5m"), "candles are made from candles with --resample 5m"),
        ((*SERIES, "--resample", "5m", "--candles", "5m"), "--resample is for candles, --candles for trades"),
        ((*SERIES, "--partial"), "--partial is for candles that are made: add --resample or --candles"),
        ((COLLECTION, "--resample", "5m"), "is a collection: write SYMBOL TYPE"),
    ],
)
def test_candles_that_cannot_be_made_are_refused(
    loaded: Cli, tmp_path: Path, what: tuple[str, ...], message: str
) -> None:
    file = tmp_path / "a.csv"
    ran = loaded("export", *what, "-o", str(file))
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert not file.exists()


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (("BTCUSDT", TYPE), "write SYMBOL TYPE CANDLES_TYPE [TIME_RANGE]"),
        (("BTCUSDT", "api_trades", "api_agg_trades"), "type api_agg_trades has no interval"),
        (("BTCUSDT", TYPE, TYPE), "interval 1m is that of the candles already"),
        (("BTCUSDT", TYPE, "api_candles_3d"), "interval '3d': where such bars open only the exchange tells"),
        (("BTCUSDT", TYPE, "api_candles_7m"), "type 'api_candles_7m' is not known"),
    ],
)
def test_what_cannot_be_compared_is_refused(loaded: Cli, what: tuple[str, ...], message: str) -> None:
    ran = loaded("compare", *what)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err


def test_instants_are_timestamps_in_parquet(loaded: Cli, tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    loaded("export", *SERIES, "--resample", "1h", "-o", str(file)).ok()
    table = parquet.read_table(file)
    assert table.column("open_time").to_pylist()[:2] == [datetime(2024, 8, 1, hour, tzinfo=UTC) for hour in (0, 1)]
    assert table.num_rows == 6
