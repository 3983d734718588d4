"""The file of an export: its format, as `--output`, `--format` and `--time` say together, and the records in it."""

from __future__ import annotations

import gzip
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol, get_type_hints

import msgspec

from streamforge.cli.command_errors import CliError, UsageProblem
from streamforge.cli.times import Times

if TYPE_CHECKING:
    import pyarrow

    from streamforge.cli.datasets.parquet_part import Columns
    from streamforge_utils.model.kinds.kind import RecordKind

STDOUT: Final = Path("-")


class Format(StrEnum):
    """How records are exported."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"

    @property
    def asked_for(self) -> str:
        """The format that is requested of the server."""
        return "csv" if self is Format.CSV else "jsonl"

    @property
    def called(self) -> str:
        """Its name in a sentence."""
        return {Format.CSV: "CSV", Format.JSONL: "JSON lines", Format.PARQUET: "Parquet"}[self]


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """Where an export goes and how it is written. file: None is stdout. gzip: its text is compressed."""

    form: Format
    file: Path | None = None
    gzip: bool = False
    times: Times = Times.MS

    def __str__(self) -> str:
        return f"{self.file or 'stdout'} as {self.form.called}{', compressed' if self.gzip else ''}"


_SUFFIXES = {".csv": Format.CSV, ".jsonl": Format.JSONL, ".ndjson": Format.JSONL, ".parquet": Format.PARQUET}
_GZIP = ".gz"
_ENDINGS = ".csv, .csv.gz, .jsonl, .jsonl.gz or .parquet"


def destination(form: str | None, output: Path | None, times: str | None = None) -> Destination:
    """What the three options mean. Raises UsageProblem where one is not known or two contradict each other.

    The format is that of the file's suffix. `form` is for stdout and for a file whose suffix names none; `ndjson` is
    another name of `jsonl`, as in the HTTP API. A file that ends in `.gz` is compressed.
    """
    named = None if form is None else named_format(form)
    file = None if output is None or output == STDOUT else output
    if file is None:
        chosen, compressed = named or Format.CSV, False
        if chosen is Format.PARQUET:
            raise UsageProblem("a Parquet file is no text: name a file with --output FILE")
    else:
        _check(file)
        compressed = file.suffix.lower() == _GZIP
        suffix = (file.with_suffix("") if compressed else file).suffix.lower()
        chosen = _of_file(file, _SUFFIXES.get(suffix), suffix + (_GZIP if compressed else ""), named)
        if compressed and chosen is Format.PARQUET:
            raise UsageProblem(f"output {file}: a Parquet file is compressed already: let its name end in .parquet")
    return Destination(form=chosen, file=file, gzip=compressed, times=named_times(times, chosen))


def named_format(form: str) -> Format:
    """The format that an option names. Raises UsageProblem."""
    try:
        return Format("jsonl" if form.lower() == "ndjson" else form.lower())
    except ValueError:
        raise UsageProblem(f"format {form[:40]!r} is not known: choose one of {', '.join(Format)}") from None


def _of_file(file: Path, of_suffix: Format | None, suffix: str, named: Format | None) -> Format:
    if of_suffix is None and named is None:
        why = f"its suffix {suffix} names no format" if suffix else "it has no suffix that names a format"
        raise UsageProblem(f"output {file}: {why}: let it end in {_ENDINGS}, or name a format with --format")
    if of_suffix is not None and named is not None and of_suffix is not named:
        raise UsageProblem(
            f"output {file} is a name for {of_suffix.called} and --format says {named}: leave one of them out"
        )
    return of_suffix or named or Format.CSV


def _check(file: Path) -> None:
    if file.is_dir():
        raise UsageProblem(f"output {file} is a folder: name a file in it, or write a data set with --partition month")
    if not file.absolute().parent.is_dir():
        folder = file.parent
        raise UsageProblem(
            f"output {file}: there is no folder {folder}: make it with `mkdir -p {shlex.quote(str(folder))}`, or name "
            "another file"
        )
    if file.exists() and not file.is_file():
        raise UsageProblem(f"output {file} is no plain file: write to stdout with --output - and redirect it instead")


def named_times(text: str | None, form: Format) -> Times:
    """How instants are written, as an option says it. Raises UsageProblem."""
    choices = (Times.MS, Times.TIMESTAMP if form is Format.PARQUET else Times.ISO)
    if text is None:
        return Times.TIMESTAMP if form is Format.PARQUET else Times.MS
    if text.lower() not in choices:
        raise UsageProblem(f"time {text[:40]!r} is not known for {form.called}: choose one of {', '.join(choices)}")
    return Times(text.lower())


PARQUET_ROWS = 50_000
"""Rows of a row group: some 10 MB in memory."""


@contextmanager
def record_writer(to: Destination, collection: str = "", *, columns: Columns | None = None) -> Iterator[RecordWriter]:
    """A writer to a file, which then appears whole or stays what it was, or to stdout. Raises CliError.

    collection: its name says which columns a Parquet file without records has. columns: of a Parquet file, where they
    are known.
    """
    if to.file is None:
        sys.stdout.flush()
        yield _Lines(sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    if to.form is Format.PARQUET:
        from streamforge.cli.datasets.parquet_part import ParquetPart

        arrow = import_pyarrow()
        with _replacing(to.file) as draft:
            try:
                writer = (
                    _Parquet(draft, arrow, to.times, collection) if columns is None else ParquetPart(draft, columns)
                )
                try:
                    yield writer
                    writer.close()
                finally:
                    writer.abandon()
            except OSError as error:
                raise _cannot_write(to.file, error) from error
        return
    with _replacing(to.file) as draft:
        try:
            with draft.open("wb") as file:
                if to.gzip:
                    with _compressed(file) as packed:
                        yield _Lines(packed)
                else:
                    yield _Lines(file)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _cannot_write(to.file, error) from error


def _compressed(file: BinaryIO) -> gzip.GzipFile:
    """The same records give the same bytes: the file holds no time and no name."""
    return gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0)


@contextmanager
def _replacing(output: Path) -> Iterator[Path]:
    """A draft beside `output` that takes its place at the end of the block, or is removed if that fails."""
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
    """Writes lines as they come."""

    def __init__(self, file: BinaryIO | gzip.GzipFile) -> None:
        self._file = file
        self.rows = 0
        self._headed = False

    def header(self, line: bytes) -> None:
        """The first line of a CSV, of which the first that comes is written."""
        if not self._headed:
            self._file.write(line)
            self._headed = True

    def lines(self, piece: bytes) -> None:
        self._file.write(piece)
        self.rows += piece.count(b"\n")


class _Parquet:
    def __init__(self, path: Path, arrow: Any, times: Times, collection: str) -> None:
        self._path = path
        self._collection = collection
        self._arrow = arrow
        self._times = times
        self._records: list[dict[str, object]] = []
        self._writer: pyarrow.parquet.ParquetWriter | None = None
        self._schema: pyarrow.Schema | None = None
        self.rows = 0
        self._decode = msgspec.json.Decoder(dict[str, object]).decode

    def lines(self, piece: bytes) -> None:
        for line in piece.splitlines():
            self._records.append(self._decode(line))
            self.rows += 1
            if len(self._records) >= PARQUET_ROWS:
                self._flush()

    def header(self, line: bytes) -> None:
        raise AssertionError("a Parquet file is made from JSON lines")

    def close(self) -> None:
        if self._records or self._writer is None:
            self._flush()
        self.abandon()

    def abandon(self) -> None:
        """Let go of the file with what is in it."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _kind(self) -> RecordKind | None:
        from streamforge_utils.model.kinds.registry import kind_of_collection, kind_of_fields

        return kind_of_fields(self._records[0].keys()) if self._records else kind_of_collection(self._collection)

    def _flush(self) -> None:
        import pyarrow.parquet

        if self._schema is None:
            self._schema = _schema(self._arrow, self._kind(), self._records[:1], self._times)
            self._writer = pyarrow.parquet.ParquetWriter(self._path, self._schema, compression="zstd")
        assert self._writer is not None  # noqa: S101 - made with the schema
        columns = {name: [record.get(name) for record in self._records] for name in self._schema.names}
        for name, values in columns.items():
            if isinstance(values[0] if values else None, list | dict):
                columns[name] = [msgspec.json.encode(value).decode() for value in values]
        self._writer.write_table(self._arrow.table(columns, schema=self._schema))
        self._records.clear()


def _schema(arrow: Any, kind: RecordKind | None, records: Sequence[dict[str, object]], times: Times) -> Any:
    """Columns as the kind has them, or the first record: text, 64-bit integers, doubles.

    The instants of a kind's records are timestamps if `times` says so.
    """
    kinds: dict[str, Any] = {}
    instants: tuple[str, ...] = ()
    if kind is not None:
        hints = get_type_hints(kind.stored)
        kinds = {name: hints[name] for name in kind.columns}
        instants = kind.times if times is Times.TIMESTAMP else ()
    for record in records if kind is None else ():
        kinds = {name: type(value) for name, value in record.items()}
    types = {str: arrow.string(), int: arrow.int64(), float: arrow.float64(), bool: arrow.bool_()}
    timestamp = arrow.timestamp("ms", tz="UTC")
    return arrow.schema(
        [(name, timestamp if name in instants else types.get(kind, arrow.string())) for name, kind in kinds.items()]
    )


def import_pyarrow() -> Any:
    """The package pyarrow. Raises CliError where it is not installed."""
    try:
        import pyarrow
    except ImportError:
        raise CliError(
            "Parquet needs pyarrow, the extra `parquet` of StreamForge's wheel: install it with "
            f"`{sys.executable} -m pip install pyarrow`, or choose --format csv or jsonl"
        ) from None
    return pyarrow


class RecordWriter(Protocol):
    """Takes the records as whole lines, each with its end, in order; counts them."""

    rows: int

    def header(self, line: bytes) -> None:
        """The first line of a CSV, of which the first that comes is written."""

    def lines(self, piece: bytes) -> None:
        """Some records."""
