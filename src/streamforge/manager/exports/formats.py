"""Records as JSON, JSON lines or CSV: one page, or a whole collection as a stream.

Numbers are the shortest text that reads back to the same double; `_key` and `_version` are not exported.
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Any, get_type_hints

import msgspec

from streamforge.manager.exports.rows import RecordRows
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.registry import kind_of_collection, kind_of_fields
from streamforge_utils.model.timeranges import iso_ms

PIECE = 500
"""Records written before others get their turn: some 3 ms of work."""

Batch = Sequence[tuple[str, bytes]]
_FAR_MS = 253_402_300_800_000
"""The year 10000."""
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Format(StrEnum):
    """How records are written."""

    JSON = "json"
    JSONL = "jsonl"
    NDJSON = "ndjson"
    CSV = "csv"

    @property
    def plain(self) -> Format:
        """The format under the name that we use; `ndjson` is another name of `jsonl`, kept for who knows that one."""
        return Format.JSONL if self is Format.NDJSON else self


class Times(StrEnum):
    """How the instants of a record are written: unix milliseconds, or `2024-08-01T12:30:00.000Z`."""

    MS = "ms"
    ISO = "iso"


MEDIA_TYPES = {
    Format.JSON: "application/json",
    Format.JSONL: "application/x-ndjson",
    Format.CSV: "text/csv; charset=utf-8",
}


class Writer:
    """Writes batches of records in one format. head and tail stand before the first and after the last batch.

    fields: the columns of a CSV, where they are known before.
    """

    def __init__(self, form: Format, collection: str, times: Times = Times.MS) -> None:
        self._form = form.plain
        self._times = times
        self._first = True
        self.fields: Sequence[str] = ()
        self._plain = False
        self._collection = collection

    def head(self, first: Batch) -> bytes:
        """first: the first batch, which names the fields; without a record the collection's name does."""
        match self._form:
            case Format.JSON:
                return b'{"collection":' + msgspec.json.encode(self._collection) + b',"records":['
            case Format.JSONL | Format.NDJSON:
                return b""
            case Format.CSV:
                kind = kind_of_collection(self._collection)
                self.fields = self.fields or fields_of(first) or (() if kind is None else kind.columns)
                self._plain = is_plain(self.fields)
                return _rows([self.fields]) if self.fields else b""

    def batch(self, batch: Batch) -> bytes:
        """The text of some records."""
        if not batch:
            return b""
        if isinstance(batch, RecordRows) and self._times is Times.MS and (text := self._together(batch)) is not None:
            return text
        if self._times is Times.ISO:
            batch = [(key, _with_iso_times(body)) for key, body in batch]
        match self._form:
            case Format.JSON:
                joint = b"" if self._first else b","
                self._first = False
                return joint + b",".join(body for _, body in batch)
            case Format.JSONL | Format.NDJSON:
                return b"\n".join(body for _, body in batch) + b"\n"
            case Format.CSV:
                return _rows([self._row(key, _decode(body)) for key, body in batch])

    def _together(self, batch: RecordRows) -> bytes | None:
        """The text of rows, without a look at each; None: they do not fit into the table."""
        match self._form:
            case Format.JSON:
                joint = b"" if self._first else b","
                self._first = False
                return joint + batch.lines()[:-1].replace(b"\n", b",")  # no text of JSON holds the sign itself
            case Format.JSONL | Format.NDJSON:
                return batch.lines()
            case Format.CSV:
                if batch.kind.columns != tuple(self.fields):
                    return None
                return _rows(batch.rows if self._plain else ([_cell(value) for value in row] for row in batch.rows))

    def _row(self, key: str, record: dict[str, Any]) -> list[object]:
        if self._plain and len(record) == len(self.fields):
            try:
                return [record[field] for field in self.fields]
            except KeyError:
                pass
        if more := record.keys() - set(self.fields):
            raise PermanentError(f"record {key!r} has fields that the table lacks: {', '.join(sorted(more))}")
        return [_cell(record.get(field)) for field in self.fields]

    def tail(self, after: str | None) -> bytes:
        """after: the key to continue behind; None at the end."""
        return b'],"after":' + msgspec.json.encode(after) + b"}" if self._form is Format.JSON else b""


async def stream(writer: Writer, first: Batch, rest: AsyncIterator[Batch]) -> AsyncIterator[bytes]:
    """A whole collection, batch by batch."""
    yield writer.head(first)
    for piece in _pieces(first):
        yield writer.batch(piece)
    async for batch in rest:
        for piece in _pieces(batch):
            yield writer.batch(piece)
    yield writer.tail(None)


def _pieces(batch: Batch) -> Iterator[Batch]:
    for start in range(0, len(batch), PIECE):
        yield batch[start : start + PIECE]


def fields_of(batch: Batch, known: Sequence[str] = ()) -> Sequence[str]:
    """The fields of `known` and of the records, in the order in which they are met; those of a kind in its order."""
    if isinstance(batch, RecordRows) and batch and not known:
        return batch.kind.columns
    found = dict.fromkeys(known)
    for _, body in batch:
        found.update(dict.fromkeys(_decode(body)))
    kind = kind_of_fields(found.keys())
    return tuple(found) if kind is None else kind.columns


def is_fixed(fields: Sequence[str]) -> bool:
    """Whether they are those of a kind, so that no record has others."""
    kind = kind_of_fields(set(fields))
    return kind is not None and tuple(fields) == kind.columns


def is_plain(fields: Sequence[str]) -> bool:
    """Whether they are those of a kind whose values are text and numbers, which a table takes as they are."""
    kind = kind_of_fields(set(fields)) if is_fixed(fields) else None
    return kind is not None and {str, int, float}.issuperset(get_type_hints(kind.stored).values())


def _with_iso_times(body: bytes) -> bytes:
    """A record with its instants in words; a document that is no record of a kind stays as it is."""
    record = _decode(body)
    kind = kind_of_fields(record.keys())
    for name in () if kind is None else kind.times:
        if isinstance(time_ms := record[name], int) and 0 <= time_ms < _FAR_MS:
            record[name] = iso_ms(time_ms)
    return body if kind is None else msgspec.json.encode(record)


def _cell(value: object) -> object:
    """Numbers and text as they are; what a table cannot hold as JSON."""
    return msgspec.json.encode(value).decode() if isinstance(value, bool | dict | list) else value


def _rows(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)  # writes a float as its repr: the shortest text
    return text.getvalue().encode()
