"""Files that appear whole or not at all, and the records of an export in them."""

from __future__ import annotations

import gzip
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, get_type_hints

import msgspec

from streamforge.cli.command_errors import CliError
from streamforge.cli.formats import Destination, Format, Times

if TYPE_CHECKING:
    import pyarrow

PARQUET_ROWS = 50_000
"""Rows of a row group: some 10 MB in memory."""


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
def record_writer(to: Destination) -> Iterator[RecordWriter]:
    """A writer to a file, which then appears whole or stays what it was, or to stdout. Raises CliError."""
    if to.file is None:
        sys.stdout.flush()
        yield _Lines(sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    if to.form is Format.PARQUET:
        arrow = _pyarrow()
        with _replacing(to.file) as draft:
            writer = _Parquet(draft, arrow, to.times)
            try:
                yield writer
                writer.close()
            finally:
                writer.abandon()
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
    def __init__(self, file: BinaryIO | gzip.GzipFile) -> None:
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
    def __init__(self, path: Path, arrow: Any, times: Times) -> None:
        self._path = path
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

    def _flush(self) -> None:
        import pyarrow.parquet

        if self._schema is None:
            self._schema = _schema(self._arrow, self._records[0] if self._records else None, self._times)
            self._writer = pyarrow.parquet.ParquetWriter(self._path, self._schema, compression="zstd")
        assert self._writer is not None  # noqa: S101 - made with the schema
        columns = {name: [record.get(name) for record in self._records] for name in self._schema.names}
        self._writer.write_table(self._arrow.table(columns, schema=self._schema))
        self._records.clear()


def _schema(arrow: Any, record: dict[str, object] | None, times: Times) -> Any:
    """Columns as the first record has them: text, 64-bit integers, doubles; without one, those of the first kind.

    The instants of a kind's records are timestamps if `times` says so.
    """
    from streamforge_utils.model.kinds.registry import kind_of_fields
    from streamforge_utils.model.kinds.registry import kinds as all_kinds

    kinds: dict[str, Any] = {}
    instants: tuple[str, ...] = ()
    kind = all_kinds()[0] if record is None else kind_of_fields(record.keys())
    if kind is not None:
        hints = get_type_hints(kind.stored)
        kinds = {name: hints[name] for name in kind.columns}
        instants = kind.times if times is Times.TIMESTAMP else ()
    elif record is not None:
        kinds = {name: type(value) for name, value in record.items()}
    types = {str: arrow.string(), int: arrow.int64(), float: arrow.float64(), bool: arrow.bool_()}
    timestamp = arrow.timestamp("ms", tz="UTC")
    return arrow.schema(
        [(name, timestamp if name in instants else types.get(kind, arrow.string())) for name, kind in kinds.items()]
    )


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        raise CliError(
            "Parquet needs pyarrow, the extra `parquet` of StreamForge's wheel: install it with "
            f"`{sys.executable} -m pip install pyarrow`, or choose --format csv or jsonl"
        ) from None
    return pyarrow
