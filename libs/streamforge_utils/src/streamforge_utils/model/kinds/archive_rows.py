"""Reads rows of an archive's files into columns, and makes messages of columns.

Rows in the usual spelling are checked by a few scans over all of them at once; any others one by one, which gives the
same columns, or an error that names the row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice, pairwise, repeat
from operator import lt
from typing import NoReturn

import msgspec

from streamforge_utils.model.kinds.paging import MalformedPage

Column = list[bytes]

_SHOWN = 160
_DIGITS = b"0123456789"
_AS_ZEROS = bytes.maketrans(b"123456789", b"0" * 9)
_LONGEST = b"0" * 21
"""Digits in a row that no number has."""

_WITHOUT_DIGITS = (b",,", b",.", b".,", b"..", b"\n,", b"\n.", b".\n", b",\n")
_WHOLE = rb"(?:[1-9][0-9]{0,19}|0)"
_MS_DIGITS, _US_DIGITS = 13, 16
_decode_integers = msgspec.json.Decoder(list[int]).decode


class Form(msgspec.Struct, frozen=True):
    """What a column holds. mark: what is left of the usual spelling without digits. what: for messages."""

    mark: bytes
    accepts: re.Pattern[bytes]
    what: str


WHOLE = Form(b"", re.compile(_WHOLE), "is no whole number")
DECIMAL = Form(b".", re.compile(_WHOLE + rb"(?:\.[0-9]{1,20})?"), "is no decimal number")
NUMBER = Form(b"", DECIMAL.accepts, "is no number")
TRUTH = Form(b"True", re.compile(rb"True|False|true|false"), "is neither True nor False")


class RowForm(msgspec.Struct, frozen=True):
    """The columns of a file, by name. optional: how many of the last ones may be left out, in all rows or in some."""

    columns: tuple[tuple[str, Form], ...]
    optional: int = 0

    def read(self, rows: bytes) -> list[Column]:
        """The columns of whole rows; those that may be left out are not among them. Truths are `true` and `false`.

        Raises MalformedPage naming the row, the column and what is wrong with it.
        """
        return (self._plain(rows) if rows else None) or self._each(rows)

    def _plain(self, rows: bytes) -> list[Column] | None:
        """The columns of rows in the usual spelling; None if a row may have another, or be wrong."""
        count, width = rows.count(b"\n"), len(self.columns)
        mark = b",".join(form.mark for _, form in self.columns) + b"\n"
        if (
            rows.translate(None, _DIGITS).replace(b"False", b"True") != mark * count
            or rows[:1] == b","
            or any(pair in rows for pair in _WITHOUT_DIGITS)
            or _LONGEST in rows.translate(_AS_ZEROS)
            # A number may not begin with 0, unless it is 0 or goes on behind the point.
            or rows.count(b",0") != rows.count(b",0.") + rows.count(b",0,") + rows.count(b",0\n")
            or rows.count(b"\n0") != rows.count(b"\n0,")
            or (rows[:1] == b"0" and rows[:2] != b"0,")
        ):
            return None
        values = rows[:-1].replace(b"\n", b",").replace(b"True", b"true").replace(b"False", b"false").split(b",")
        columns = [values[number::width] for number in range(width)]
        for column, (_, form) in zip(columns, self.columns, strict=True):
            # A digit inside the word left the same mark.
            if form is TRUTH and column.count(b"true") + column.count(b"false") != count:
                return None
        return columns[: width - self.optional]

    def _each(self, rows: bytes) -> list[Column]:
        width = len(self.columns)
        widths = range(width - self.optional, width + 1)
        columns: list[Column] = [[] for _ in range(width - self.optional)]
        for row in rows.removesuffix(b"\n").split(b"\n") if rows else ():
            values = row.split(b",")
            if len(values) not in widths:
                refuse(row, f"it has {len(values)} columns, not {width}")
            for (name, form), value in zip(self.columns, values, strict=False):
                if form.accepts.fullmatch(value) is None:
                    refuse(row, f"its {name} {shown(value)} {form.what}")
            for column, value, (_, form) in zip(columns, values, self.columns, strict=False):
                column.append(value.lower() if form is TRUTH else value)
        return columns


def refuse(row: bytes, why: str) -> NoReturn:
    """Raises MalformedPage."""
    raise MalformedPage(f"row {shown(row)}: {why}")


def shown(text: bytes) -> str:
    """The beginning of a text, for a message."""
    return repr(text[:_SHOWN].decode("utf-8", "replace"))


def milliseconds(column: Column) -> Column:
    """Times in milliseconds, of times in milliseconds or microseconds. Raises MalformedPage."""
    lengths = set(map(len, column))
    if lengths <= {_MS_DIGITS}:
        return column
    for time in column if lengths - {_MS_DIGITS, _US_DIGITS} else ():
        if len(time) not in (_MS_DIGITS, _US_DIGITS):
            raise MalformedPage(f"time {shown(time)} is neither in milliseconds (13 digits) nor in microseconds (16)")
    return [time[:_MS_DIGITS] for time in column]


def integers(column: Column) -> list[int]:
    """The numbers of a column of whole numbers."""
    return _decode_integers(b"[%b]" % b",".join(column))


def require_ascending(positions: Sequence[int], what: str) -> None:
    """Raises MalformedPage naming the first two that do not ascend."""
    if not all(map(lt, positions, islice(positions, 1, None))):
        before, after = next(pair for pair in pairwise(positions) if pair[0] >= pair[1])
        raise MalformedPage(f"{what} {after} follows {before}")


def require_no_zero(column: Column, what: str, ids: Column) -> None:
    """Raises MalformedPage naming the id of the first row in which a number is zero."""
    if b"" in map(bytes.strip, column, repeat(b"0.")):
        found = next(one for one, value in zip(ids, column, strict=True) if not value.strip(b"0."))
        raise MalformedPage(f"{found.decode()}: its {what} is 0")


def padded(prefix: bytes, ids: Column, digits: int) -> Column:
    """Keys: the prefix and each id with so many digits."""
    if ids and len(ids[0]) == len(ids[-1]):  # they ascend
        prefix += b"0" * (digits - len(ids[0]))
        return [prefix + one for one in ids]
    return [prefix + one.zfill(digits) for one in ids]


def filled(parts: Sequence[bytes], columns: Sequence[Column]) -> Column:
    """Messages: of each row the values of `columns`, in turn, between the parts, of which there is one more."""
    form = b"%b".join(part.replace(b"%", b"%%") for part in parts)
    return [form % values for values in zip(*columns, strict=True)]
