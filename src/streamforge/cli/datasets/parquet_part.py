"""One file of a data set: records as Parquet, in row groups with statistics, in the order of their positions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import NoneType
from typing import Any, BinaryIO, get_args, get_origin, get_type_hints

from streamforge.cli.command_errors import CliError
from streamforge.cli.stored_records import Taker
from streamforge.cli.times import Times
from streamforge_utils.model.kinds.kind import RecordKind

ROW_GROUP = 131_072
"""Rows of a row group: some 20 MB while it is made."""
_BLOCK = 4 << 20
"""Bytes of text that are turned into columns at once."""
LEFT_OUT = ("symbol",)
"""Fields that the name of a folder holds: readers add them again."""


class Columns:
    """The columns of a data set: a kind's fields, with the type that each has in a file. more: names and types besides.

    left_out: not in the file.
    arrow: the package pyarrow.
    """

    def __init__(
        self,
        arrow: Any,
        kind: RecordKind,
        times: Times,
        more: Mapping[str, type] | None = None,
        *,
        left_out: Sequence[str] = (),
    ) -> None:
        self.arrow, self.kind = arrow, kind
        hints = get_type_hints(kind.stored)
        python = {name: hints[name] for name in kind.columns} | dict(more or {})
        as_read = {name: _type_of(arrow, one) for name, one in python.items()}
        self.optional = frozenset(name for name, one in python.items() if NoneType in get_args(one))
        """Those that a record may have no value of."""
        self.read = arrow.schema(list(as_read.items()))
        """As the JSON lines have them."""
        instants = kind.times if times is Times.TIMESTAMP else ()
        timestamp = arrow.timestamp("ms", tz="UTC")
        kept = {name: one for name, one in as_read.items() if name not in left_out}
        self.written = arrow.schema([(name, timestamp if name in instants else one) for name, one in kept.items()])
        """As the file has them."""

    def described(self) -> dict[str, str]:
        """Names and types, as a manifest has them."""
        return {field.name: str(field.type) for field in self.written}


def _type_of(arrow: Any, python: Any) -> Any:
    """The type of a column: levels of an order book are lists of lists, texts from a choice are texts."""
    if get_origin(python) in (list, tuple):
        return arrow.list_(_type_of(arrow, get_args(python)[0]))
    if NoneType in get_args(python):
        return _type_of(arrow, next(one for one in get_args(python) if one is not NoneType))
    types = {int: arrow.int64(), float: arrow.float64(), bool: arrow.bool_()}
    return types.get(python, arrow.string())


class ParquetPart(Taker):
    """Writes a file, row group after row group. rows, first, last: as far as it is written.

    first, last: the positions of its first and its last record. size, sha256: of the whole file, once it is closed.
    """

    def __init__(self, path: Path, columns: Columns) -> None:
        """Raises OSError."""
        import pyarrow.parquet

        self._columns, self._arrow = columns, columns.arrow
        self._text: list[bytes] = []
        self._held = 0
        self._tables: list[Any] = []
        self._waiting = 0
        self.rows = 0
        self.first: int | None = None
        self.last: int | None = None
        self._file = _Counted(path.open("wb"))
        fields = columns.written
        exact = [one.name for one in fields if one.type in (self._arrow.int64(), self._arrow.timestamp("ms", tz="UTC"))]
        repeated = [one.name for one in fields if one.type in (self._arrow.string(), self._arrow.float64())]
        order = fields.get_field_index(columns.kind.position)
        self._writer: Any = pyarrow.parquet.ParquetWriter(
            self._file,
            fields,
            compression="zstd",
            use_dictionary=repeated,
            column_encoding=dict.fromkeys(exact, "DELTA_BINARY_PACKED"),
            write_page_index=True,
            sorting_columns=[pyarrow.parquet.SortingColumn(order)],
        )

    @property
    def size(self) -> int:
        return self._file.size

    @property
    def sha256(self) -> str:
        return self._file.hash.hexdigest()

    def lines(self, piece: bytes) -> None:
        """Take whole lines of JSON. Raises CliError for records that are none of the kind or out of order; OSError."""
        self._text.append(piece)
        self._held += len(piece)
        self.rows += piece.count(b"\n")
        if self._held >= _BLOCK:
            self._convert()
            if self._waiting >= ROW_GROUP:
                self._write(ROW_GROUP)

    def close(self) -> None:
        """Finish the file; it is not yet known to be on the disk. Raises as `lines`."""
        self._convert()
        self._write(max(self._waiting, 1))
        self._writer.close()
        self._file.close()

    def abandon(self) -> None:
        """Discard the file and what was written of it."""
        self._file.discard()
        if self._writer.is_open:
            self._writer.close()
        with suppress(OSError):  # what is still in its buffer may find no room
            self._file.close()

    def _convert(self) -> None:
        if not self._text:
            return
        from pyarrow import json

        text = b"".join(self._text)
        self._text.clear()
        self._held = 0
        try:
            table = json.read_json(
                self._arrow.BufferReader(text),
                read_options=json.ReadOptions(block_size=_BLOCK // 4),
                parse_options=json.ParseOptions(explicit_schema=self._columns.read, unexpected_field_behavior="error"),
            )
        except self._arrow.ArrowInvalid as error:
            raise CliError(f"the records are not those of {self._columns.kind.name}: {error}") from error
        for name in table.schema.names:
            if name not in self._columns.optional and table.column(name).null_count:
                raise CliError(f"a record of {self._columns.kind.name} has no {name}: nothing of this part is written")
        self._check_order(table.column(self._columns.kind.position))
        table = table.select(self._columns.written.names).cast(self._columns.written)
        self._tables.append(table)
        self._waiting += table.num_rows

    def _check_order(self, positions: Any) -> None:
        from pyarrow import compute

        column = positions.combine_chunks()
        first, last = column[0].as_py(), column[-1].as_py()
        ascending = self.last is None or self.last < first
        if len(column) > 1:
            ascending = ascending and compute.all(compute.greater(column[1:], column[:-1])).as_py()
        if not ascending:
            name = self._columns.kind.position
            raise CliError(f"the records are not in the order of their {name} from {first} on: verify the series")
        self.first = first if self.first is None else self.first
        self.last = last

    def _write(self, group: int) -> None:
        """Write the row groups of `group` rows that are whole."""
        if self._waiting < group:
            return
        whole = self._arrow.concat_tables(self._tables)
        rows = self._waiting - self._waiting % group
        self._writer.write_table(whole.slice(0, rows), row_group_size=group)
        self._waiting -= rows
        self._tables = [whole.slice(rows)] if self._waiting else []


class _Counted:
    """A file that knows how many bytes it has, and their checksum."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._discards = False
        self.size = 0
        self.hash = hashlib.sha256()

    def write(self, data: Any) -> int:
        view = memoryview(data)
        if not self._discards:
            self._file.write(view)
            self.hash.update(view)
            self.size += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        if not self._discards:
            self._file.flush()

    def discard(self) -> None:
        """Write nothing more."""
        self._discards = True

    @property
    def closed(self) -> bool:
        return self._file.closed

    def close(self) -> None:
        self._file.close()
