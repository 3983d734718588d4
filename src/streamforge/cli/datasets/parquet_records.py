"""A Parquet file of documents of any fields, as others' topics have them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from streamforge.cli.command_errors import CliError
from streamforge.cli.datasets.parquet_part import Columns
from streamforge.cli.stored_records import Taker
from streamforge.cli.times import Times
from streamforge_utils.model.kinds.registry import kind_of_collection, kind_of_fields

ROWS = 50_000
"""Rows of a row group: some 10 MB in memory."""
_INT64 = 2**63
_EXACT = 2**53
"""Up to here a double holds each whole number."""


class ParquetRecords(Taker):
    """Writes documents: every field of any of them is a column, null where a document lacks it.

    A field of whole numbers alone, of numbers, of truth values or of text has the type of these. Any other is text, and
    JSON where a value is none. Which fields there are is known at the end: until then the documents lie in a file
    without a name, on the same disk.
    """

    def __init__(self, path: Path, arrow: Any, times: Times, collection: str) -> None:
        """collection: its name says which columns a file without records has. Raises OSError."""
        self._path, self._arrow, self._times, self._collection = path, arrow, times, collection
        self._fields: dict[str, _Values] = {}
        self._decode = msgspec.json.Decoder(dict[str, object]).decode
        self._lines = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115 - closed by `abandon`
        self.rows = 0

    def lines(self, piece: bytes) -> None:
        """Take whole lines of JSON. Raises OSError."""
        self._lines.write(piece)
        for line in piece.splitlines():
            for name, value in self._decode(line).items():
                self._fields.setdefault(name, _Values()).add(value)
            self.rows += 1

    def close(self) -> None:
        """Write the file. Raises OSError; CliError where a kind's fields hold other values than the kind's."""
        import pyarrow.parquet

        schema = self._schema()
        with pyarrow.parquet.ParquetWriter(self._path, schema, compression="zstd") as writer:
            for records in self._groups():
                columns = {field.name: [_cell(one.get(field.name), field.type) for one in records] for field in schema}
                try:
                    table = self._arrow.table(columns, schema=schema)
                except (self._arrow.ArrowInvalid, self._arrow.ArrowTypeError, OverflowError) as error:
                    raise CliError(f"the records are no table: {error}; write them with --format jsonl") from error
                writer.write_table(table)
        self.abandon()

    def abandon(self) -> None:
        """Let go of what was taken."""
        self._lines.close()

    def _groups(self) -> Iterator[list[dict[str, object]]]:
        self._lines.seek(0)
        while records := [self._decode(line) for line in islice(self._lines, ROWS)]:
            yield records

    def _schema(self) -> Any:
        kind = kind_of_fields(self._fields.keys()) if self.rows else kind_of_collection(self._collection)
        if kind is not None and self._fields.keys() <= set(kind.columns):
            return Columns(self._arrow, kind, self._times).written
        return self._arrow.schema([(name, found.type(self._arrow)) for name, found in self._fields.items()])


class _Values:
    """What kinds of values a field has."""

    def __init__(self) -> None:
        self._types = set[type]()
        self._most = 0

    def add(self, value: object) -> None:
        if value is not None:
            self._types.add(type(value))
        if type(value) is int:
            self._most = max(self._most, value, -1 - value)

    def type(self, arrow: Any) -> Any:
        if self._types == {bool}:
            return arrow.bool_()
        if self._types == {int} and self._most < _INT64:
            return arrow.int64()
        if self._types == {float} or (self._types == {int, float} and self._most <= _EXACT):
            return arrow.float64()
        return arrow.string()


def _cell(value: object, of: Any) -> object:
    if value is None or isinstance(value, str) or str(of) != "string":
        return value
    return msgspec.json.encode(value).decode()
