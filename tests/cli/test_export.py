"""export: what comes out is what the exchange has, each record once, oldest first, in every format."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow
import pyarrow.parquet as parquet
import pytest

from streamforge.cli.command_errors import UsageProblem
from streamforge.cli.datasets.parquet_part import Columns
from streamforge.cli.stored_records import Reader
from streamforge.cli.times import Times
from streamforge.cli.writers import Destination, Format, destination, record_writer
from streamforge_utils.model.kinds.candles import KIND
from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.model.kinds.registry import kind_named, kinds
from tests.cleanenv import environment
from tests.cli.support import (
    COLLECTION,
    COMMAND,
    CSV_HEADER,
    MINUTE_MS,
    START_MS,
    TYPE,
    Cli,
    Json,
    expected,
    oracle,
)
from tests.limits import LIMIT_S

SIX_HOURS = "2024-08-01:2024-08-01T06:00Z"
SIX_HOURS_MS = 6 * 60 * MINUTE_MS
SERIES = ("BTCUSDT", TYPE, SIX_HOURS)
INTEGERS = ("open_time", "close_time", "number_of_trades")


def of_csv(text: str) -> list[Json]:
    """The rows of a CSV, each number read as what its column holds."""
    rows = []
    for row in csv.DictReader(io.StringIO(text)):
        read: Json = dict(row)
        for name in KIND.columns[2:]:
            read[name] = int(row[name]) if name in INTEGERS else float(row[name])
        rows.append(read)
    return rows


def test_text_is_what_the_exchange_has_field_by_field(loaded: Cli, exchange_url: str) -> None:
    there = expected(oracle(exchange_url, START_MS, START_MS + SIX_HOURS_MS))
    ran = loaded("export", *SERIES).ok()
    assert ran.out.startswith(CSV_HEADER + "\n")
    assert of_csv(ran.out) == there
    assert ran.err == f"360 records of BTCUSDT {TYPE} {SIX_HOURS}\n"
    for row in list(csv.reader(io.StringIO(ran.out)))[1:]:  # numbers are the shortest text of their double
        for name, text in zip(KIND.columns[2:], row[2:], strict=True):
            assert text == (repr(int(text)) if name in INTEGERS else repr(float(text)))
    lines = [json.loads(line) for line in loaded("export", *SERIES, "--format", "jsonl").ok().out.splitlines()]
    assert lines == there
    assert list(lines[0]) == list(KIND.columns)


def test_parquet_has_the_same_records_typed(loaded: Cli, exchange_url: str, tmp_path: Path) -> None:
    file = tmp_path / "candles.parquet"
    told = loaded("export", *SERIES, "--output", str(file), "--json").ok().json
    span = told.pop("span")
    assert (span["basis"], span["start_ms"], span["end_ms"]) == ("range", START_MS, START_MS + SIX_HOURS_MS)
    assert told == {"rows": 360, "file": str(file), "format": "parquet", "complete": True, "holes": []}
    rows = expected(oracle(exchange_url, START_MS, START_MS + SIX_HOURS_MS))
    table = parquet.read_table(file)
    types = dict.fromkeys(KIND.columns, "double") | {"symbol": "string", "interval": "string"}
    types |= {"number_of_trades": "int64"}
    instants = dict.fromkeys(("open_time", "close_time"), "timestamp[ms, tz=UTC]")
    assert {field.name: str(field.type) for field in table.schema} == types | instants
    assert table.to_pylist() == [
        row | {name: datetime.fromtimestamp(row[name] / 1000, UTC) for name in instants} for row in rows
    ]
    loaded("export", *SERIES, "--output", str(file), "--time", "ms").ok()
    table = parquet.read_table(file)
    assert {field.name: str(field.type) for field in table.schema} == types | dict.fromkeys(instants, "int64")
    assert table.to_pylist() == rows


def test_iso_times_are_the_same_instants_in_words(loaded: Cli) -> None:
    part = ("BTCUSDT", TYPE, "2024-08-01T02:58Z:2024-08-01T03:00Z")
    header, *lines = loaded("export", *part, "--time", "iso").ok().out.splitlines()
    assert header == CSV_HEADER
    cells = [line.split(",") for line in lines]
    assert [(row[2], row[8]) for row in cells] == [
        ("2024-08-01T02:58:00.000Z", "2024-08-01T02:58:59.999Z"),
        ("2024-08-01T02:59:00.000Z", "2024-08-01T02:59:59.999Z"),
    ]
    plain = [line.split(",") for line in loaded("export", *part).ok().out.splitlines()[1:]]
    assert [row[3:8] + row[9:] for row in cells] == [row[3:8] + row[9:] for row in plain]
    found = [
        json.loads(line) for line in loaded("export", *part, "--format", "jsonl", "--time", "iso").ok().out.split()
    ]
    assert [(row["open_time"], row["close_time"]) for row in found] == [(row[2], row[8]) for row in cells]
    assert [row["close"] for row in found] == [float(row[6]) for row in cells]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_gz_suffix_compresses_the_same_text_to_the_same_bytes(loaded: Cli, tmp_path: Path, suffix: str) -> None:
    plain, file = tmp_path / f"a.{suffix}", tmp_path / f"a.{suffix}.gz"
    loaded("export", *SERIES, "-o", str(plain)).ok()
    told = loaded("export", *SERIES, "-o", str(file), "--json").ok().json
    assert (told["rows"], told["format"]) == (360, suffix)
    assert gzip.decompress(file.read_bytes()) == plain.read_bytes()
    assert len(file.read_bytes()) < len(plain.read_bytes()) / 2
    again = tmp_path / "b.gz"
    loaded("export", *SERIES, "-o", str(again), "--format", suffix).ok()
    assert again.read_bytes() == file.read_bytes()


def test_a_part_is_exactly_that_part_and_a_workflow_a_collection_and_a_series_give_the_whole(
    loaded: Cli, exchange_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = loaded("export", "BTCUSDT", TYPE, "2024-08-01T02:58Z:2024-08-01T03:02Z").ok().out
    start_ms = START_MS + 178 * MINUTE_MS
    assert of_csv(out) == expected(oracle(exchange_url, start_ms, start_ms + 4 * MINUTE_MS))
    queue_id = loaded("queues", "--json").ok().json["queues"][0]["queue_id"]
    monkeypatch.chdir(tmp_path)
    whole = loaded("export", *SERIES).ok().out
    for what in ((queue_id,), (COLLECTION,), ("BTCUSDT", TYPE), (*SERIES, "-o", "-")):
        assert loaded("export", *what).ok().out == whole
    assert list(tmp_path.iterdir()) == [], "a dash is stdout"


@pytest.mark.e2e
def test_a_series_over_several_collections_has_each_record_once_in_order(cli: Cli, exchange_url: str) -> None:
    cli.load("BTCUSDT", TYPE, "2024-08-01T23:00Z:2024-08-02T01:00Z")
    cli.load("BTCUSDT", TYPE, "2024-08-02:2024-08-02T02:00Z")
    cli.load("BTCUSDT", TYPE, "2024-08-01T22:30Z:2024-08-02T00:30Z", "--again")
    assert len({s["collection"] for s in cli("coverage", "BTCUSDT", TYPE, "--json").json["segments"]}) > 1
    out = cli("export", "BTCUSDT", TYPE, "2024-08-01T22:30Z:2024-08-02T02:00Z").ok().out
    start_ms = START_MS + 1350 * MINUTE_MS
    assert of_csv(out) == expected(oracle(exchange_url, start_ms, start_ms + 210 * MINUTE_MS))


def test_what_is_missing_of_the_range_is_named(loaded: Cli, tmp_path: Path) -> None:
    ran = loaded("export", "BTCUSDT", TYPE, "2024-08-01T05:58Z:2024-08-01T07:00Z")
    assert (ran.code, ran.out.count("\n")) == (1, 3)
    assert "  hole: 2024-08-01T06:00Z to 2024-08-01T07:00Z: unknown (not loaded yet)\n" in ran.err
    file = tmp_path / "part.csv"
    ran = loaded("export", "BTCUSDT", TYPE, "2024-08-01T05:58Z:2024-08-01T07:00Z", "-o", str(file), "--json")
    assert (ran.code, ran.json["rows"], ran.json["complete"], len(ran.json["holes"])) == (1, 2, False, 1)


def test_a_file_replaces_the_old_one_only_when_it_is_whole(loaded: Cli, tmp_path: Path) -> None:
    file = tmp_path / "candles.csv"
    file.write_text("old")
    assert loaded("export", "ETHUSDT", TYPE, SIX_HOURS, "-o", str(file)).code == 1
    assert file.read_text() == "old"
    ran = loaded("export", *SERIES, "-o", str(file)).ok()
    assert (ran.out, ran.err) == ("", f"360 records of BTCUSDT {TYPE} {SIX_HOURS} to {file} as CSV\n")
    assert file.read_text().count("\n") == 361
    assert [path.name for path in tmp_path.iterdir()] == ["candles.csv"]


@pytest.mark.parametrize(
    ("file", "code", "message"),
    [
        ("", 2, "is a folder: name a file in it"),
        ("nowhere/a.csv", 2, "there is no folder {nowhere}: make it with `mkdir -p {nowhere}`, or name another file"),
        ("/dev/null", 2, "is no plain file: write to stdout with --output -"),
    ],
)
def test_a_file_that_cannot_be_is_named(loaded: Cli, tmp_path: Path, file: str, code: int, message: str) -> None:
    ran = loaded("export", *SERIES, "-o", str(tmp_path / file))
    assert (ran.code, ran.out) == (code, "")
    assert message.format(nowhere=tmp_path / "nowhere") in ran.err


def test_parquet_needs_a_file_and_its_extra(loaded: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = loaded("export", *SERIES, "--format", "parquet")
    assert (ran.code, ran.out) == (2, "")
    assert "name a file with --output FILE" in ran.err
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    ran = loaded("export", *SERIES, "-o", str(tmp_path / "a.parquet"))
    assert ran.code == 1
    assert f"install it with `{sys.executable} -m pip install pyarrow`, or choose --format csv or jsonl" in ran.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.e2e
def test_a_reader_that_has_enough_ends_the_export_quietly(loaded_data: Path) -> None:
    command = f"{' '.join(COMMAND)} export BTCUSDT {TYPE} --data {loaded_data} | head -n 1; echo ${{PIPESTATUS[0]}}"
    ran = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=LIMIT_S, check=True, env=environment()
    )
    header, code = ran.stdout.splitlines()
    assert header == CSV_HEADER
    assert code in ("0", "141")  # 0: all of it fitted into the pipe before the reader went
    assert "Traceback" not in ran.stderr
    assert "Error" not in ran.stderr


def test_the_format_follows_the_suffix_else_the_option() -> None:
    given: dict[Format, list[tuple[str | None, str | None]]] = {
        Format.CSV: [(None, None), (None, "-"), (None, "a.csv"), (None, "a.csv.gz"), ("CSV", "a.csv"), ("csv", "a")],
        Format.JSONL: [
            ("jsonl", None),
            ("NDJSON", "-"),
            (None, "a.b.JSONL"),
            (None, "a.ndjson.GZ"),
            ("jsonl", "a.txt"),
        ],
        Format.PARQUET: [(None, "a.parquet")],
    }
    for form, options in given.items():
        for named, file in options:
            found = destination(named, None if file is None else Path(file))
            assert found.form is form, (named, file)
            assert found.gzip is bool(file and file.lower().endswith(".gz"))
            assert found.file == (None if file in (None, "-") else Path(str(file)))
    assert destination("csv", Path("a.gz")).gzip


@pytest.mark.parametrize(
    ("form", "file", "times", "message"),
    [
        (None, "a.txt", None, "its suffix .txt names no format: let it end in .csv, .csv.gz, .jsonl, .jsonl.gz or"),
        (None, "a", None, "it has no suffix that names a format: let it end in .csv,"),
        (None, "a.gz", None, "its suffix .gz names no format"),
        (None, "a.txt.gz", None, "its suffix .txt.gz names no format"),
        (
            "csv",
            "a.jsonl",
            None,
            "output a.jsonl is a name for JSON lines and --format says csv: leave one of them out",
        ),
        ("parquet", "a.csv.gz", None, "a.csv.gz is a name for CSV and --format says parquet"),
        (None, "a.parquet.gz", None, "a Parquet file is compressed already: let its name end in .parquet"),
        ("parquet", "-", None, "a Parquet file is no text: name a file with --output FILE"),
        ("xls", None, None, "format 'xls' is not known: choose one of csv, jsonl, parquet"),
        (None, None, "utc", "time 'utc' is not known for CSV: choose one of ms, iso"),
        (None, "a.parquet", "iso", "time 'iso' is not known for Parquet: choose one of ms, timestamp"),
    ],
)
def test_a_format_that_is_not_clear_is_refused(
    form: str | None, file: str | None, times: str | None, message: str
) -> None:
    with pytest.raises(UsageProblem, match=re.escape(message)):
        destination(form, None if file is None else Path(file), times)


def test_a_parquet_file_is_written_in_groups_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamforge.cli.datasets.parquet_records.ROWS", 10)
    file = tmp_path / "a.parquet"
    with record_writer(Destination(form=Format.PARQUET, file=file, times=Times.TIMESTAMP)) as writer:
        writer.lines(b"".join(b'{"name":"a","value":%d.5}\n' % number for number in range(25)))
    read = parquet.ParquetFile(file)
    assert [read.metadata.row_group(i).num_rows for i in range(read.num_row_groups)] == [10, 10, 5]
    assert read.read().column("value").to_pylist() == [number + 0.5 for number in range(25)]
    assert writer.rows == 25


@pytest.mark.parametrize("kind", list(kinds()), ids=lambda kind: kind.name)
@pytest.mark.parametrize("known", [True, False], ids=["of a series", "of a collection"])
def test_a_parquet_file_holds_every_field_of_every_kind(kind: RecordKind, known: bool, tmp_path: Path) -> None:
    document, file = kind.document(None, msgspec.json.encode(kind.example))[2], tmp_path / "a.parquet"
    columns = Columns(pyarrow, kind, Times.MS) if known else None
    with record_writer(Destination(form=Format.PARQUET, file=file, times=Times.MS), columns=columns) as writer:
        writer.lines(document + b"\n")
    assert parquet.read_table(file).to_pylist() == [msgspec.json.decode(document)]


def test_a_record_without_what_is_optional_is_written(tmp_path: Path) -> None:
    kind, file = kind_named("depth_interval"), tmp_path / "a.parquet"
    example = msgspec.structs.replace(kind.example, anchor_id=None)
    with record_writer(
        Destination(form=Format.PARQUET, file=file, times=Times.MS), columns=Columns(pyarrow, kind, Times.MS)
    ) as writer:
        writer.lines(kind.document(None, msgspec.json.encode(example))[2] + b"\n")
    (row,) = parquet.read_table(file).to_pylist()
    assert (row["anchor_id"], row["messages"]) == (None, 100)


def test_levels_of_an_order_book_are_lists_and_instants_are_instants(tmp_path: Path) -> None:
    kind, file = kind_named("depth"), tmp_path / "a.parquet"
    with record_writer(Destination(form=Format.PARQUET, file=file, times=Times.TIMESTAMP)) as writer:
        writer.lines(kind.document(None, msgspec.json.encode(kind.example))[2] + b"\n")
    (row,) = parquet.read_table(file).to_pylist()
    assert row["bids"] == [[61837.63, 3.78826], [61820.99, 0.0]]
    assert row["event_time"] == datetime(2024, 8, 8, 23, 54, 15, 408000, tzinfo=UTC)


def test_of_documents_of_any_fields_every_field_is_in_a_parquet_file(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    documents: list[dict[str, Any]] = [
        {"_key": "a", "n": 1, "odd": 1, "large": 2**63, "both": 2**53 + 1},
        {"_key": "b", "n": 2, "odd": "one", "both": 0.5, "paid": True, "total": 9.5, "items": [{"id": 1}]},
        {"_key": "c", "n": None, "total": 3, "items": "none"},
    ]
    with record_writer(Destination(form=Format.PARQUET, file=file, times=Times.TIMESTAMP)) as writer:
        for one in documents:
            writer.lines(msgspec.json.encode(one) + b"\n")
    assert parquet.read_table(file).to_pylist() == [
        {"_key": "a", "n": 1, "odd": "1", "large": "9223372036854775808", "both": "9007199254740993"}
        | dict.fromkeys(("paid", "total", "items")),
        {"_key": "b", "n": 2, "odd": "one", "large": None, "both": "0.5", "paid": True, "total": 9.5}
        | {"items": '[{"id":1}]'},
        {"_key": "c", "total": 3.0, "items": "none"} | dict.fromkeys(("n", "odd", "large", "both", "paid")),
    ]
    assert list(tmp_path.iterdir()) == [file]


def test_records_that_are_not_what_coverage_has_proven_are_an_error(
    loaded: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment_of = Reader.segment

    async def more(reader: Reader, known: Any, segment: Any, *args: Any) -> None:
        await segment_of(reader, known, msgspec.structs.replace(segment, records=segment.records + 1), *args)

    monkeypatch.setattr(Reader, "segment", more)
    ran = loaded("export", *SERIES)
    assert ran.code == 1
    assert f"{COLLECTION} holds 360 records where coverage has proven 361" in ran.err
