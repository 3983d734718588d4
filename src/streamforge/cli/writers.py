"""The file of an export: its format, as `--output`, `--format` and `--time` say together, and the records in it."""

from __future__ import annotations

import gzip
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol

import msgspec

from streamforge.cli.command_errors import CliError, UsageProblem
from streamforge.cli.times import Times

if TYPE_CHECKING:
    from streamforge.cli.datasets.parquet_part import Columns

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
        from streamforge.cli.datasets.parquet_records import ParquetRecords

        arrow = import_pyarrow()
        with _replacing(to.file) as draft:
            try:
                writer: ParquetPart | ParquetRecords = (
                    ParquetRecords(draft, arrow, to.times, collection)
                    if columns is None
                    else ParquetPart(draft, columns)
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
