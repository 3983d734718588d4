"""Files that appear whole or not at all, and the formats of an export."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import msgspec

from streamforge.cli.errors import CliError, UsageProblem

if TYPE_CHECKING:
    import pyarrow

PARQUET_ROWS = 50_000
"""Rows of a row group: some 10 MB in memory."""


class Format(StrEnum):
    """How records are exported."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"

    @property
    def asked_for(self) -> str:
        """What the server is asked for: it writes lines, we pass them on."""
        return "csv" if self is Format.CSV else "jsonl"


_SUFFIXES = {".csv": Format.CSV, ".jsonl": Format.JSONL, ".ndjson": Format.JSONL, ".parquet": Format.PARQUET}


def format_of(name: str | None, output: Path | None) -> Format:
    """The format that was named, else that of the file's suffix, else CSV. Raises UsageProblem.

    `ndjson` is another name of `jsonl`, as in the HTTP API.
    """
    if name is not None:
        try:
            return Format("jsonl" if name.lower() == "ndjson" else name.lower())
        except ValueError:
            raise UsageProblem(f"format {name[:40]!r} is not known: choose one of {', '.join(Format)}") from None
    return _SUFFIXES.get(output.suffix.lower(), Format.CSV) if output is not None else Format.CSV


class RecordWriter(Protocol):
    """Takes records as lines, in order; counts them."""

    rows: int

    def header(self, line: bytes) -> None:
        """The first line of a CSV, each time one comes."""

    def lines(self, piece: bytes) -> None:
        """Whole lines, each with its end."""

    def close(self) -> None:
        """Nothing more comes."""


@contextmanager
def record_writer(form: Format, output: Path | None) -> Iterator[RecordWriter]:
    """A writer to `output` (which then appears whole, or stays what it was) or to stdout.

    Raises UsageProblem or CliError.
    """
    if form is Format.PARQUET:
        if output is None:
            raise UsageProblem("a Parquet file is no text: name a file with --output FILE")
        arrow = _pyarrow()
        with _replacing(output) as draft:
            writer = _Parquet(draft, arrow)
            try:
                yield writer
                writer.close()
            finally:
                writer.abandon()
        return
    if output is None:
        sys.stdout.flush()
        yield _Lines(sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    with _replacing(output) as draft:
        try:
            with draft.open("wb") as file:
                yield _Lines(file)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _cannot_write(output, error) from error


@contextmanager
def _replacing(output: Path) -> Iterator[Path]:
    """A draft beside `output` that takes its place at the end of the block, or is removed if that fails."""
    if output.is_dir():
        raise UsageProblem(f"output {output} is a folder: name a file in it")
    if output.exists() and not output.is_file():
        raise UsageProblem(f"output {output} is no plain file: leave --output out and redirect stdout instead")
    # Through a link to what it points at, which stays a link.
    target = output.resolve()
    draft = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        draft.touch(exist_ok=False)
    except OSError as error:
        raise _cannot_write(output, error) from error
    try:
        yield draft
        try:
            draft.replace(target)
        except OSError as error:
            raise _cannot_write(output, error) from error
    finally:
        draft.unlink(missing_ok=True)


def _cannot_write(output: Path, error: OSError) -> CliError:
    return CliError(f"output {output} cannot be written ({error.strerror or error}): choose another file or make room")


class _Lines:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.rows = 0
        self._headed = False

    def header(self, line: bytes) -> None:
        if not self._headed:
            self._file.write(line)
            self._headed = True

    def lines(self, piece: bytes) -> None:
        self._file.write(piece)
        self.rows += piece.count(b"\n")

    def close(self) -> None:
        self._file.flush()


class _Parquet:
    def __init__(self, path: Path, arrow: Any) -> None:
        self._path = path
        self._arrow = arrow
        self._records: list[dict[str, object]] = []
        self._writer: pyarrow.parquet.ParquetWriter | None = None
        self._schema: pyarrow.Schema | None = None
        self.rows = 0
        self._decode = msgspec.json.Decoder(dict[str, object]).decode

    def lines(self, piece: bytes) -> None:
        for line in piece.splitlines():
            self._records.append(self._decode(line))
            if len(self._records) >= PARQUET_ROWS:
                self._flush()

    def header(self, line: bytes) -> None:
        raise AssertionError("a Parquet file is made from JSON lines")

    def close(self) -> None:
        if self._records or self._writer is None:
            self._flush()
        self.abandon()

    def abandon(self) -> None:
        """Let go of the file, whatever is in it."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _flush(self) -> None:
        import pyarrow.parquet

        if self._schema is None:
            self._schema = _schema(self._arrow, self._records[0] if self._records else None)
            self._writer = pyarrow.parquet.ParquetWriter(self._path, self._schema, compression="zstd")
        assert self._writer is not None  # noqa: S101 - made with the schema
        columns = {name: [record.get(name) for record in self._records] for name in self._schema.names}
        self._writer.write_table(self._arrow.table(columns, schema=self._schema))
        self.rows += len(self._records)
        self._records.clear()


def _schema(arrow: Any, record: dict[str, object] | None) -> Any:
    """Columns as the first record has them: text, 64-bit integers, doubles; without one, those of a candle."""
    from streamforge_utils.model.candles import CANDLE_FIELDS, StoredCandle

    kinds: dict[str, type]
    if record is None or record.keys() == set(CANDLE_FIELDS):
        hints = {field.name: field.type for field in msgspec.structs.fields(StoredCandle)}
        kinds = {name: hints[name] for name in CANDLE_FIELDS}
    else:
        kinds = {name: type(value) for name, value in record.items()}
    types = {str: arrow.string(), int: arrow.int64(), float: arrow.float64(), bool: arrow.bool_()}
    return arrow.schema([(name, types.get(kind, arrow.string())) for name, kind in kinds.items()])


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        raise CliError(
            "Parquet needs pyarrow, the extra `parquet` of StreamForge's wheel: install it with "
            f"`{sys.executable} -m pip install pyarrow`, or choose --format csv or jsonl"
        ) from None
    return pyarrow
