"""Records become frames of polars, pandas or Arrow, a part at a time, so that beside the frame little is in memory.

The columns are those of an export to Parquet: instants as UTC timestamps (ms), text, 64-bit integers, doubles.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from array import array
from collections.abc import Sequence
from typing import Any, Final, Protocol, get_type_hints

import msgspec

from streamforge_utils.model.errors import InvalidInput, StreamForgeError
from streamforge_utils.model.kinds.kind import RecordKind

FRAMES: Final = ("polars", "pandas", "arrow")
_PACKAGES = {"polars": "polars", "pandas": "pandas", "arrow": "pyarrow"}
_PLAIN = (str, int, float, bool)

Column = list[Any]


class FrameBuilder(Protocol):
    """Takes records in order, and gives the frame."""

    def add(self, records: Sequence[Any]) -> None:
        """The next records, as the kind's stored structs."""

    def add_rows(self, rows: Sequence[Sequence[Any]]) -> None:
        """The next records, as the values of the kind's columns."""

    def frame(self) -> Any:
        """All of them; the builder is used up."""


class NoPackage(StreamForgeError):
    """The package that has the frames is not installed."""


def check_frame(frame: str) -> None:
    """Raises InvalidInput for a name that is none, or NoPackage."""
    if frame not in FRAMES:
        raise InvalidInput("frame", f"frame {frame[:40]!r} is not known: choose one of {', '.join(FRAMES)}")
    package = _PACKAGES[frame]
    try:
        __import__(package)
    except ImportError:
        others = [one for one in FRAMES if one != frame]
        raise NoPackage(
            f"frame={frame!r} needs {package}, which is not installed: `{sys.executable} -m pip install {package}`, or "
            f"choose another with frame={others[0]!r} or frame={others[1]!r}"
        ) from None


def builder_of(frame: str, kind: RecordKind) -> FrameBuilder:
    """A builder of the frames that `frame` names. Raises as `check_frame`."""
    check_frame(frame)
    makers: dict[str, type[_Builder]] = {"polars": _Polars, "pandas": _Pandas, "arrow": _Arrow}
    return makers[frame](kind)


class _Builder(ABC):
    def __init__(self, kind: RecordKind) -> None:
        hints = get_type_hints(kind.stored)
        self.types: dict[str, type] = {name: hints[name] if hints[name] in _PLAIN else str for name in kind.columns}
        self.instants = frozenset(kind.times)
        self._as_json = [name for name in kind.columns if hints[name] not in _PLAIN]

    def add(self, records: Sequence[Any]) -> None:
        self._take({name: [getattr(record, name) for record in records] for name in self.types})

    def add_rows(self, rows: Sequence[Sequence[Any]]) -> None:
        if rows:
            self._take(dict(zip(self.types, map(list, zip(*rows, strict=True)), strict=True)))

    def _take(self, columns: dict[str, Column]) -> None:
        for name in self._as_json:
            columns[name] = [msgspec.json.encode(value).decode() for value in columns[name]]
        self.append(columns)

    @abstractmethod
    def append(self, columns: dict[str, Column]) -> None:
        """Take columns of the same length, by name."""

    @abstractmethod
    def frame(self) -> Any:
        """All that was taken, as a frame."""


class _Polars(_Builder):
    def __init__(self, kind: RecordKind) -> None:
        super().__init__(kind)
        import polars

        self._polars = polars
        plain = {str: polars.String, int: polars.Int64, float: polars.Float64, bool: polars.Boolean}
        self._plain = {name: plain[type_] for name, type_ in self.types.items()}
        self._parts: list[Any] = []

    def append(self, columns: dict[str, Column]) -> None:
        pl = self._polars
        part = pl.DataFrame(columns, schema=self._plain)
        self._parts.append(part.with_columns(pl.col(name).cast(pl.Datetime("ms", "UTC")) for name in self.instants))

    def frame(self) -> Any:
        if not self._parts:
            self.append({name: [] for name in self.types})
        parts, self._parts = self._parts, []
        return self._polars.concat(parts, rechunk=False)


class _Pandas(_Builder):
    def __init__(self, kind: RecordKind) -> None:
        super().__init__(kind)
        codes = {int: "q", float: "d", bool: "b"}
        self._columns: dict[str, Any] = {
            name: array(codes[type_]) if type_ in codes else [] for name, type_ in self.types.items()
        }
        self._shared: dict[str, str] = {}

    def append(self, columns: dict[str, Column]) -> None:
        for name, column in columns.items():
            # Of a text that comes again and again one object is kept.
            same = self._shared.setdefault
            self._columns[name].extend(column if self.types[name] is not str else [same(text, text) for text in column])
        if len(self._shared) > 10_000:
            self._shared.clear()

    def frame(self) -> Any:
        import numpy
        import pandas

        found: dict[str, Any] = {}
        for name, type_ in self.types.items():
            values = self._columns.pop(name)
            if type_ is str:
                found[name] = pandas.Series(values, dtype="str")
                continue
            numbers = numpy.frombuffer(values, dtype={int: "<i8", float: "<f8", bool: "?"}[type_])
            if name in self.instants:
                found[name] = pandas.Series(numbers.view("datetime64[ms]")).dt.tz_localize("UTC")
            else:
                found[name] = pandas.Series(numbers, copy=False)
        return pandas.DataFrame(found, copy=False)


class _Arrow(_Builder):
    def __init__(self, kind: RecordKind) -> None:
        super().__init__(kind)
        import pyarrow

        self._arrow = pyarrow
        plain = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_()}
        instant = pyarrow.timestamp("ms", tz="UTC")
        self._schema = pyarrow.schema(
            [(name, instant if name in self.instants else plain[type_]) for name, type_ in self.types.items()]
        )
        self._parts: list[Any] = []

    def append(self, columns: dict[str, Column]) -> None:
        self._parts.append(self._arrow.RecordBatch.from_pydict(columns, schema=self._schema))

    def frame(self) -> Any:
        parts, self._parts = self._parts, []
        return self._arrow.Table.from_batches(parts, schema=self._schema)
