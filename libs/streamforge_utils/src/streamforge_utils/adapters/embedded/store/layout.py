"""How the records of one series lie in a table: a column for each field, the key's digits as the primary key.

A layout is kept in the file beside its table, so that a process that does not know the kind can read the records too.
What every record of a series has in common (its symbol, its interval) stands in the layout alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain, starmap
from operator import attrgetter
from typing import Any, Final, Literal

import msgspec

from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.kinds.kind import RecordKind, keys_of_series
from streamforge_utils.ports.store import Document

Form = Literal["integer", "real", "text", "flag", "json", "constant"]
"""How a field lies: as SQLite's own type; a flag as 0 or 1; json as its text; a constant in the layout."""

DIGITS_AT_MOST: Final = 18
"""A position of more digits does not fit into an integer of SQLite."""

_CONSTANTS = ("symbol", "interval")
_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TYPES = {"integer": "INTEGER", "real": "REAL", "text": "TEXT", "flag": "INTEGER", "json": "BLOB"}
_LEADING_DIGITS = re.compile("[0-9]*")
_INTEGER_LIMIT = 2**63
_encode = msgspec.json.Encoder().encode


class Field(msgspec.Struct, frozen=True, array_like=True):
    """A field of a record. constant: its value, of a form `constant`. optional: it may be null."""

    name: str
    form: Form
    constant: str = ""
    optional: bool = False


class Layout(msgspec.Struct, frozen=True):
    """The table of a series. prefix: what all its keys begin with. digits: of the position that follows it.

    position: the field with the position, which is the table's primary key. fields: all of a record, in their order.
    """

    prefix: str
    digits: int
    position: str
    fields: tuple[Field, ...]

    def create(self, table: str) -> str:
        """The statement that makes the table."""
        columns = [
            f'"{one.name}" {_TYPES[one.form]}{"" if one.optional else " NOT NULL"}'
            for one in self.fields
            if one.form != "constant" and one.name != self.position
        ]
        return f"CREATE TABLE {table} (position INTEGER PRIMARY KEY, version INTEGER NOT NULL, {', '.join(columns)})"

    @property
    def end(self) -> int:
        """The first position that no key can hold."""
        return int(10**self.digits)

    def key(self, position: int) -> str:
        """The key of the record at a position."""
        return f"{self.prefix}{position:0{self.digits}}"

    def keys(self, positions: Sequence[int]) -> list[str]:
        """The keys of the records at these positions."""
        return keys_of_series(self.prefix, [*positions], self.digits) if positions else []

    def position_of(self, key: str) -> int | None:
        """The position that a key names; None: it is no key of this series."""
        rest = key[len(self.prefix) :]
        if len(rest) != self.digits or not rest.isdigit() or not rest.isascii() or not key.startswith(self.prefix):
            return None
        return int(rest)

    def within(self, first: str, last: str | None) -> range:
        """The positions of the keys with first <= key < last."""
        start = self._from(first)
        return range(start, self.end if last is None else max(start, self._from(last)))

    def _from(self, text: str) -> int:
        """The least position whose key is not before `text`."""
        prefix, digits = self.prefix, self.digits
        if text <= prefix:
            return 0
        if not text.startswith(prefix):
            return 0 if text < prefix else self.end
        rest = text[len(prefix) :]
        lead = _LEADING_DIGITS.match(rest[:digits])
        found = "" if lead is None else lead[0]
        if len(found) == digits:
            return int(found) + (len(rest) > digits)
        if len(found) == len(rest) or rest[len(found)] < "0":
            return int(found.ljust(digits, "0"))
        return (int(found or "0") + 1) * 10 ** (digits - len(found)) if found else self.end

    def overlaps(self, other: Layout) -> bool:
        """Whether a key may be one of both series."""
        short, long = sorted((self, other), key=lambda one: len(one.prefix))
        more = long.prefix[len(short.prefix) :]
        same_length = len(short.prefix) + short.digits == len(long.prefix) + long.digits
        return same_length and long.prefix.startswith(short.prefix) and (not more or more.isdigit())


@lru_cache(maxsize=1024)
def layout_of(kind: RecordKind, constants: tuple[tuple[str, str], ...]) -> Layout | None:
    """The layout of a series of a kind; None: its records lie as documents.

    constants: what `constants_of` says of one of its records.
    """
    forms = forms_of(kind)
    if forms is None:
        return None
    values = dict(constants)
    try:
        sample = msgspec.defstruct("_Sample", [(name, str) for name in values])(**values)
        prefix = kind.prefix(kind.series_of(sample))
    except (AttributeError, InvalidInput):
        return None  # of a plugin: its series follow from other fields too
    fields = (
        msgspec.structs.replace(one, form="constant", constant=values[one.name]) if one.name in values else one
        for one in forms
    )
    return Layout(prefix, kind.digits, kind.position, tuple(fields))


def constants_of(kind: RecordKind, record: Any) -> tuple[tuple[str, str], ...]:
    """What a record has in common with all of its series."""
    return tuple((name, getattr(record, name)) for name in _constant_names(kind))


@lru_cache(maxsize=64)
def _constant_names(kind: RecordKind) -> tuple[str, ...]:
    forms = forms_of(kind) or ()
    return tuple(one.name for one in forms if one.name in _CONSTANTS and one.form == "text" and not one.optional)


@lru_cache(maxsize=64)
def forms_of(kind: RecordKind) -> tuple[Field, ...] | None:
    """The fields of a kind's records as columns; None: they lie as documents.

    So do those of a plugin that writes its documents or keys by itself, that leaves fields out, or whose names are no
    columns.
    """
    stored, own = kind.stored, type(kind)
    config = stored.__struct_config__
    special = own.document is not RecordKind.document or own.key is not RecordKind.key
    if special or stored.__struct_defaults__ or config.array_like or config.tag or kind.digits > DIGITS_AT_MOST:
        return None
    info = msgspec.inspect.type_info(stored)
    assert isinstance(info, msgspec.inspect.StructType)  # noqa: S101 - it is one
    fields = tuple(_field(one) for one in info.fields)
    names = [one.name.lower() for one in fields]
    reserved = {"version", "position", "rowid", "oid", "_rowid_"} & set(names)
    plain = all(_COLUMN.fullmatch(one.name) and one.encode_name == one.name for one in info.fields)
    position = next(one for one in fields if one.name == kind.position)
    if reserved or not plain or len({*names}) < len(names) or position.form != "integer" or position.optional:
        return None
    return fields


def _field(info: msgspec.inspect.Field) -> Field:
    type_, optional = info.type, False
    if isinstance(type_, msgspec.inspect.UnionType) and type_.includes_none:
        rest = [one for one in type_.types if not isinstance(one, msgspec.inspect.NoneType)]
        if len(rest) == 1:
            type_, optional = rest[0], True
    forms: list[tuple[type[msgspec.inspect.Type], Form]] = [
        (msgspec.inspect.BoolType, "flag"),
        (msgspec.inspect.IntType, "integer"),
        (msgspec.inspect.FloatType, "real"),
        (msgspec.inspect.StrType, "text"),
    ]
    form: Form = next((form for of, form in forms if isinstance(type_, of)), "json")
    return Field(info.name, form, optional=optional)


Row = tuple[Any, ...]
"""A record as it lies in its table: position, version, and the other columns in their order."""


class Codec:
    """Turns records into rows of a layout, and rows into documents and records."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        columns = [one for one in layout.fields if one.form != "constant" and one.name != layout.position]
        self.width = len(columns) + 2
        self.columns = ", ".join(["position", "version", *(f'"{one.name}"' for one in columns)])
        self._plain = attrgetter(layout.position, "version", *(one.name for one in columns))
        self._json = [at for at, one in enumerate(columns, 2) if one.form == "json"]
        self._integers = [0, *(at for at, one in enumerate(columns, 2) if one.form == "integer")]
        self._document = _reader([*layout.fields])

    def rows(self, records: Sequence[Any]) -> list[Row] | None:
        """The rows of records with a `version`; None: one has an integer that SQLite cannot hold."""
        rows = list(map(self._plain, records))
        if self._json:
            rows = [
                tuple(_encode(value) if at in self._json else value for at, value in enumerate(row)) for row in rows
            ]
        for at in self._integers:
            values = [row[at] for row in rows if row[at] is not None]
            if values and not (min(values) >= -_INTEGER_LIMIT and max(values) < _INTEGER_LIMIT):
                return None
        return rows

    def select(self, names: Sequence[str] | None = None) -> str:
        """What a statement selects for `documents`, after position and version; or the fields of these names."""
        fields = self.layout.fields
        if names is not None:
            by_name = {one.name: one for one in fields}
            fields = tuple(by_name[name] for name in names)
        return ", ".join(map(self._selected, fields))

    def _selected(self, one: Field) -> str:
        if one.form == "constant":
            return "'{}'".format(one.constant.replace("'", "''"))
        return "position" if one.name == self.layout.position else f'"{one.name}"'

    def documents(self, rows: Sequence[Row]) -> list[Document]:
        """The documents of rows that were selected as position, version and `select()`."""
        if not rows:
            return []
        columns: list[Sequence[Any]] = [*zip(*rows, strict=True)]
        positions, versions = columns[:2]
        return list(map(Document, self.layout.keys(positions), versions, self._document.bodies(columns[2:])))

    def values(self, rows: Sequence[Row], names: Sequence[str]) -> Sequence[Row]:
        """Rows of the fields of these names, with flags and nested values as what they are."""
        by_name = {one.name: one for one in self.layout.fields}
        special = [at for at, name in enumerate(names) if by_name[name].form in ("flag", "json")]
        if not special or not rows:
            return rows
        columns: list[Sequence[Any]] = [*zip(*rows, strict=True)]
        for at in special:
            columns[at] = _flags(columns[at]) if by_name[names[at]].form == "flag" else _decoded(columns[at])
        return list(zip(*columns, strict=True))


class _Reader(msgspec.Struct, frozen=True):
    make: Callable[..., Any]
    flags: tuple[int, ...]
    nested: tuple[int, ...]

    def bodies(self, columns: list[Sequence[Any]]) -> list[bytes]:
        for at in self.flags:
            columns[at] = _flags(columns[at])
        for at in self.nested:
            columns[at] = [None if one is None else msgspec.Raw(one) for one in columns[at]]
        return list(map(_encode, starmap(self.make, zip(*columns, strict=True))))


def _reader(fields: Sequence[Field]) -> _Reader:
    make = msgspec.defstruct("_Stored", [(one.name, Any) for one in fields], gc=False)
    flags = tuple(at for at, one in enumerate(fields) if one.form == "flag")
    return _Reader(make, flags, tuple(at for at, one in enumerate(fields) if one.form == "json"))


def _flags(column: Sequence[Any]) -> list[bool | None]:
    return [None if one is None else bool(one) for one in column]


def _decoded(column: Sequence[Any]) -> list[Any]:
    return [None if one is None else msgspec.json.decode(one) for one in column]


@lru_cache(maxsize=1024)
def codec_of(layout: Layout) -> Codec:
    """The codec of a layout."""
    return Codec(layout)


def flat(rows: Sequence[Row]) -> list[Any]:
    """The values of all rows, one after the other."""
    return list(chain.from_iterable(rows))
