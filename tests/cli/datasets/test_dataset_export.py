"""export --partition: a data set that three libraries read, whose files are whole or absent; it grows in place."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import polars
import pyarrow.dataset
import pyarrow.parquet as parquet
import pytest

from streamforge.cli.client import Api
from streamforge.cli.command_errors import CliError
from streamforge.cli.datasets import parquet_part
from streamforge.cli.datasets.calendar_partitions import Period, symbol_folder
from streamforge.cli.datasets.dataset_places import Folder
from streamforge.cli.stored_records import Reader
from streamforge.cli.times import Times
from streamforge.manager.coverage import answers as data_answers
from streamforge_utils.model.kinds.registry import kind_named
from streamforge_utils.model.timeranges import TimeRange
from tests.chaos.test_disk import DISK_MB
from tests.chaos.test_disk import small_disk as small_disk
from tests.cleanenv import environment
from tests.cli.support import COMMAND, HOUR_MS, Cli, Json, expected, oracle
from tests.limits import LIMIT_S

pytestmark = pytest.mark.e2e

TYPE = "api_candles_1h"
START_MS = 1_722_384_000_000  # 2024-07-31
DAYS = "2024-07-31:2024-08-02"
TRADES = ("BTCUSDT", "api_agg_trades", "2024-08-01T23:59Z:2024-08-02T00:02Z")


def by_polars(folder: Path) -> list[Json]:
    return polars.read_parquet(f"{folder}/**/*.parquet", hive_partitioning=True).to_dicts()


def by_duckdb(folder: Path) -> list[Json]:
    found: Any = duckdb.sql(
        f"SET TimeZone = 'UTC'; FROM read_parquet('{folder}/**/*.parquet', hive_partitioning = true)"
    )
    return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


def by_pyarrow(folder: Path) -> list[Json]:
    rows: list[Json] = pyarrow.dataset.dataset(folder, partitioning="hive").to_table().to_pylist()
    return rows


READERS = [by_polars, by_duckdb, by_pyarrow]


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a data set, by name."""
    return {str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*") if one.is_file()}


def manifest(folder: Path, symbol: str = "BTCUSDT") -> Json:
    found: Json = json.loads((folder / f"symbol={symbol}" / "_manifest.json").read_text())
    return found


def partitions(folder: Path) -> dict[str, Json]:
    return {one["partition"]: one for one in manifest(folder)["partitions"]}


def there(url: str, hours: int, symbol: str = "BTCUSDT") -> list[Json]:
    """The candles that the exchange has from the beginning of the range on, as they must be in a data set."""
    rows = expected(oracle(url, START_MS, START_MS + hours * HOUR_MS, symbol, "1h"), symbol, "1h")
    for row in rows:
        for name in ("open_time", "close_time"):
            row[name] = datetime.fromtimestamp(row[name] / 1000, UTC)
    return rows


@pytest.fixture
def days(cli: Cli) -> Cli:
    """The command on a folder with two days of candles."""
    cli.load("BTCUSDT", TYPE, DAYS)
    return cli


@pytest.mark.parametrize("read", READERS)
def test_each_library_reads_what_the_exchange_has_value_by_value(
    days: Cli, exchange_url: str, tmp_path: Path, read: Callable[[Path], list[Json]]
) -> None:
    days.load("ETHUSDT", TYPE, "2024-08-01")
    folder = tmp_path / "set"
    told = days("export", "BTCUSDT", TYPE, DAYS, "--partition", "month", "-o", str(folder)).ok()
    assert told.err == f"48 records of BTCUSDT {TYPE} {DAYS} in 2 partitions of {folder}: 2 written, 0 as before\n"
    days("export", "ETHUSDT", TYPE, "--partition", "month", "-o", str(folder)).ok()
    rows = read(folder)
    months = {row.pop("month") for row in rows}
    assert {str(one) for one in months} in ({"2024-07", "2024-08"}, {"2024-07-01", "2024-08-01"})
    rows.sort(key=lambda row: (row["symbol"], row["open_time"]))
    assert rows == there(exchange_url, 48) + there(exchange_url, 48, "ETHUSDT")[24:]


def test_trades_lie_in_the_day_in_which_they_happened(cli: Cli, tmp_path: Path) -> None:
    cli.load(*TRADES)
    folder = tmp_path / "set"
    told = cli("export", *TRADES, "--partition", "day", "--time", "ms", "-o", str(folder), "--json").ok().json
    rows = [json.loads(line) for line in cli("export", *TRADES, "--format", "jsonl").ok().out.splitlines()]
    assert told["rows"] == len(rows) == 60
    for day, entry in partitions(folder).items():
        table = parquet.ParquetFile(folder / entry["file"]).read()
        of_day = [row for row in rows if f"day={datetime.fromtimestamp(row['timestamp'] / 1000, UTC):%Y-%m-%d}" == day]
        assert table.to_pylist() == [{name: row[name] for name in row if name != "symbol"} for row in of_day]
        assert (entry["first"], entry["last"]) == (of_day[0]["trade_id"], of_day[-1]["trade_id"])
        assert (entry["rows"], entry["complete"]) == (len(of_day), True)


@pytest.mark.parametrize("what", ["set", "endless", "file", "candles"])
def test_what_is_stored_elsewhere_while_it_is_read_is_not_called_complete(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    cli.load(*TRADES)
    found, segment, read = Api.read, Reader.segment, list[str]()

    def answer(self: Api, text: bytes, type_: Any) -> Any:
        known = found(self, text, type_)
        if type_ is not data_answers.Coverage or (read and what != "endless"):
            return known
        moved = [msgspec.structs.replace(one, collection=f"old-{len(read)}") for one in known.segments]
        return msgspec.structs.replace(known, segments=moved)

    async def records(self: Reader, known: Any, one: data_answers.Segment, *rest: Any) -> None:
        read.append(one.start)
        if not str(one.collection).startswith("old-"):  # a collection without the range gives nothing
            await segment(self, known, one, *rest)

    monkeypatch.setattr(Api, "read", answer)
    monkeypatch.setattr(Reader, "segment", records)
    to = tmp_path / "out"
    more = {"file": ("--format", "csv"), "candles": ("--candles", "1m", "--format", "csv")}
    ran = cli("export", *TRADES, *more.get(what, ("--partition", "day")), "-o", str(to), "--json")
    if what == "set":
        assert (ran.ok().json["rows"], len(read)) == (60, 4)
        assert all(one["complete"] and one["file"] for one in partitions(to).values())
        return
    assert (ran.code, "was removed or replaced while it was read" in ran.err) == (1, True), ran.err
    assert len(read) == {"endless": 3}.get(what, 1)
    assert not (to / "symbol=BTCUSDT/_manifest.json").exists()


def test_the_manifest_tells_of_each_file_what_it_holds(days: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    span = "2024-07-31:2024-08-03"
    ran = days("export", "BTCUSDT", TYPE, span, "--partition", "day", "-o", str(folder), "--json")
    told = ran.json
    assert (ran.code, told["rows"], told["complete"], told["partitions_written"]) == (1, 48, False, 3)
    assert [(one["start"], one["end"], one["verdict"]) for one in told["holes"]] == [
        ("2024-08-02", "2024-08-03", "unknown")
    ]
    description = json.loads((folder / "_manifest.json").read_text())
    assert (description["type"], description["partition"]) == (TYPE, "day")
    assert description["columns"]["open_time"] == "timestamp[ms, tz=UTC]"
    listed = partitions(folder)
    assert list(listed) == ["day=2024-07-31", "day=2024-08-01", "day=2024-08-02"]
    for number, entry in enumerate(list(listed.values())[:2]):
        content = (folder / entry["file"]).read_bytes()
        assert (entry["bytes"], entry["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        first_ms = START_MS + number * 24 * HOUR_MS
        assert (entry["first"], entry["last"], entry["rows"]) == (first_ms, first_ms + 23 * HOUR_MS, 24)
        assert [one["verdict"] for one in entry["coverage"]] == ["stored"]
        assert entry["complete"]
    empty = listed["day=2024-08-02"]
    assert (empty["file"], empty["rows"], empty["complete"]) == (None, 0, False)
    assert not (folder / "symbol=BTCUSDT/day=2024-08-02").exists()
    text = days("export", "BTCUSDT", TYPE, span, "--partition", "day", "-o", str(folder))
    assert "  hole: 2024-08-02 to 2024-08-03: unknown (not loaded yet)\n" in text.err
    assert f"not complete: load the rest with `streamforge load BTCUSDT {TYPE} 2024-08-02:2024-08-03" in text.err


@pytest.mark.long
def test_a_data_set_grows_by_what_is_new_and_keeps_what_is_gone_from_the_store(days: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "set"

    def export(*what: str) -> tuple[int, int, int, int]:
        told = days("export", "BTCUSDT", TYPE, *what, "--partition", "day", "-o", str(folder), "--json").json
        return (
            told["rows"],
            told["partitions_written"],
            told["partitions_unchanged"],
            told["partitions_kept"],
        )

    assert export(DAYS) == (48, 2, 0, 0)
    before = files(folder)
    # What is there stays, also where only a part of it is asked for; what is damaged or lacks is written again, alike.
    assert export(DAYS) == (48, 0, 2, 0)
    assert export("2024-08-01T05:00Z:2024-08-01T07:00Z") == (24, 0, 1, 0)
    (folder / "symbol=BTCUSDT/day=2024-08-01/records.parquet").write_bytes(b"cut")
    (folder / "symbol=BTCUSDT/day=2024-07-31/.records.parquet.1.part").write_bytes(b"of an export that was killed")
    assert export(DAYS) == (48, 1, 1, 0)
    assert files(folder) == before
    # More of a day replaces its file.
    days.load("BTCUSDT", TYPE, "2024-08-02:2024-08-02T06:00Z")
    assert export("2024-08-02:2024-08-02T03:00Z") == (3, 1, 0, 0)
    assert export("2024-07-31:2024-08-02T06:00Z") == (54, 1, 2, 0)
    # What was removed from the store is still in the data set, unless all is to be written again.
    queue_id = days("queues", "--json").ok().json["queues"][-1]["queue_id"]
    days("rm", queue_id, "--data-too", "--yes").ok()
    assert export("2024-07-31:2024-08-02T06:00Z") == (54, 0, 1, 2)
    told = days("export", "BTCUSDT", TYPE, DAYS, "--partition", "day", "-o", str(folder))
    assert "2 partitions stayed: they hold more than what is stored now; --again replaces them\n" in told.err
    assert export("2024-07-31:2024-08-02T06:00Z", "--again") == (6, 3, 0, 0)
    assert [one for one in files(folder) if one.endswith(".parquet")] == [
        "symbol=BTCUSDT/day=2024-08-02/records.parquet"
    ]


@pytest.mark.parametrize(
    ("what", "options", "code", "message"),
    [
        (("BTCUSDT", TYPE), ("--partition", "week"), 2, "partition 'week' is not known: choose day or month"),
        (("BTCUSDT", TYPE), ("--partition", "day", "--format", "csv"), 2, "--partition writes Parquet, and --format"),
        (("BTCUSDT", TYPE), ("--again",), 2, "--again is for data sets: add --partition day"),
        (("btcusdt_api_candles_1h_2024_07_31",), ("--partition", "day"), 2, "is a collection: write SYMBOL TYPE"),
        (("ETHUSDT", TYPE), ("--partition", "day"), 1, "nothing is known of ETHUSDT"),
        (
            ("BTCUSDT", TYPE, "2023-01"),
            ("--partition", "day"),
            1,
            "nothing of BTCUSDT api_candles_1h 2023-01 is stored",
        ),
    ],
)
def test_what_is_no_data_set_is_refused_and_nothing_is_made(
    days: Cli, tmp_path: Path, what: tuple[str, ...], options: tuple[str, ...], code: int, message: str
) -> None:
    folder = tmp_path / "set"
    ran = days("export", *what, "-o", str(folder), *options)
    assert (ran.code, ran.out) == (code, "")
    assert message in ran.err
    assert not folder.exists()


def test_another_kind_of_data_set_is_not_mixed_in(days: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    days("export", "BTCUSDT", TYPE, "--partition", "day", "-o", str(folder)).ok()
    before = files(folder)
    for options, field in ((("--partition", "month"), "partition"), (("--partition", "day", "--time", "ms"), "time")):
        ran = days("export", "BTCUSDT", TYPE, "-o", str(folder), *options)
        assert ran.code == 1
        assert f"{folder} is a data set with the {field} " in ran.err
    with Folder(folder).held("symbol=BTCUSDT"):
        ran = days("export", "BTCUSDT", TYPE, "--partition", "day", "-o", str(folder))
    assert ran.code == 1
    assert "another export writes" in ran.err
    assert files(folder) == before


def test_a_full_disk_leaves_whole_files_and_the_same_command_goes_on(
    capsys: pytest.CaptureFixture[str], exchange_url: str, tmp_path: Path, small_disk: list[str]
) -> None:
    """The small file system is seen inside of its namespace alone: what is left on it is copied out."""
    minutes = "api_candles_1m"
    days = Cli(capsys, tmp_path / "store", exchange_url)
    days.load("BTCUSDT", minutes, "2024-07-31:2024-08-04")
    small, left = tmp_path / "data", tmp_path / "left"
    export = (*COMMAND, "export", "BTCUSDT", minutes, "--partition", "day", "--data", str(days.data), "-o")
    script = f'dd if=/dev/zero of={small}/ballast bs=1k count="$1" status=none; shift; "$@" {small}/set; code=$?; '
    script += f"cp -r {small}/set {left}; exit $code"
    free_k, files_k = 150, DISK_MB * 1024
    ran = subprocess.run(
        [*small_disk, "sh", "-c", script, "sh", str(files_k - free_k), *export],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env=environment(),
    )
    assert ran.returncode == 1, ran.stderr
    assert "cannot be written (No space left on device)" in ran.stderr
    listed = partitions(left)
    whole = sorted(one for one in files(left) if one.endswith(".parquet"))
    assert 0 < len(whole) < 4
    assert sorted(entry["file"] for entry in listed.values()) == whole
    assert {Path(one).name for one in files(left)} == {"_manifest.json", "records.parquet"}
    assert all(parquet.ParquetFile(left / one).metadata.num_rows == 1440 for one in whole)
    told = days("export", "BTCUSDT", minutes, "--partition", "day", "-o", str(left), "--json").ok().json
    assert (told["rows"], told["partitions_written"]) == (4 * 1440, 4 - len(whole))


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.jsonl.gz"])
def test_a_full_disk_leaves_the_old_file(loaded: Cli, tmp_path: Path, small_disk: list[str], name: str) -> None:
    small = tmp_path / "data"
    script = (
        f'echo old > {small}/{name}; dd if=/dev/zero of={small}/ballast bs=1k count="$1" status=none; shift; "$@"; '
    )
    script += f"code=$?; rm {small}/ballast; cd {small}; grep -H . *; ls -A; exit $code"
    export = (*COMMAND, "export", "BTCUSDT", "api_candles_1m", "--data", str(loaded.data), "-o", str(small / name))
    ran = subprocess.run(
        [*small_disk, "sh", "-c", script, "sh", str(DISK_MB * 1024 - 12), *export],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env=environment(),
    )
    assert (ran.returncode, ran.stdout) == (1, f"{name}:old\n{name}\n"), ran.stderr
    assert f"output {small / name} cannot be written (No space left on device)" in ran.stderr


def test_a_file_is_written_in_sorted_row_groups_with_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_part, "ROW_GROUP", 10)
    monkeypatch.setattr(parquet_part, "_BLOCK", 1200)
    columns = parquet_part.Columns(pyarrow, kind_named("trades"), Times.TIMESTAMP)
    file = parquet_part.ParquetPart(tmp_path / "a.parquet", columns)
    line = b'{"symbol":"A","trade_id":%d,"price":%d.5,"quantity":1e-8,"timestamp":%d,"is_buyer_maker":true}\n'
    for number in range(25):
        file.lines(line % (number, number, START_MS + number))
    file.close()
    read = parquet.ParquetFile(tmp_path / "a.parquet")
    groups = [read.metadata.row_group(number) for number in range(read.num_row_groups)]
    assert [group.num_rows for group in groups] == [10, 10, 5]
    assert [(group.column(1).statistics.min, group.column(1).statistics.max) for group in groups] == [
        (0, 9),
        (10, 19),
        (20, 24),
    ]
    assert groups[0].sorting_columns == (parquet.SortingColumn(1),)
    assert read.read().column("price").to_pylist() == [number + 0.5 for number in range(25)]
    assert (file.rows, file.first, file.last) == (25, 0, 24)
    assert file.size == (tmp_path / "a.parquet").stat().st_size


@pytest.mark.parametrize(
    ("ids", "more", "message"),
    [
        ((1, 2, 2), b"", "are not in the order of their trade_id"),
        ((5, 4), b"", "are not in the order of their trade_id"),
        ((1,), b',"odd":1', "the records are not those of trades"),
        ((1,), b',"price":null', "a record of trades has no price"),
    ],
)
def test_records_that_are_out_of_order_or_of_another_form_are_refused(
    tmp_path: Path, ids: tuple[int, ...], more: bytes, message: str
) -> None:
    columns = parquet_part.Columns(pyarrow, kind_named("trades"), Times.TIMESTAMP)
    file = parquet_part.ParquetPart(tmp_path / "a.parquet", columns)
    price = b"" if b"price" in more else b',"price":1.5'
    line = b'{"symbol":"A","trade_id":%d,"quantity":1,"timestamp":1,"is_buyer_maker":true%b%b}\n'
    for one in ids:
        file.lines(line % (one, price, more))
    with pytest.raises(CliError, match=message):
        file.close()
    file.abandon()


def test_partitions_are_days_and_months_of_the_calendar() -> None:
    span = TimeRange(START_MS + HOUR_MS, START_MS + 25 * HOUR_MS)
    assert [(one.name, one.within) for one in Period.DAY.cut(span)] == [
        ("day=2024-07-31", TimeRange(span.start_ms, START_MS + 24 * HOUR_MS)),
        ("day=2024-08-01", TimeRange(START_MS + 24 * HOUR_MS, span.end_ms)),
    ]
    assert [one.name for one in Period.MONTH.cut(span)] == ["month=2024-07", "month=2024-08"]


@pytest.mark.parametrize("read", READERS)
def test_a_symbol_of_any_script_is_read_as_it_is_spelled(tmp_path: Path, read: Callable[[Path], list[Json]]) -> None:
    name = "币安人生-A_B.C"
    folder = tmp_path / symbol_folder(name) / "day=2024-08-01"
    folder.mkdir(parents=True)
    table: Any = pyarrow.table({"price": [1.5]})
    parquet.write_table(table, folder / "records.parquet")
    assert [(row["symbol"], row["price"]) for row in read(tmp_path)] == [(name, 1.5)]
