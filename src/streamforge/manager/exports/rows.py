"""Records of one series as rows of their fields, of which keys and JSON are made when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.model.kinds.registry import kind_of
from streamforge_utils.model.series import Series


class RecordRows(Sequence[tuple[str, bytes]]):
    """As a sequence: the key and the JSON of each. rows: of each the values of the kind's `columns`."""

    def __init__(self, series: Series, rows: Sequence[Sequence[Any]]) -> None:
        self.series = series
        self.rows = rows

    @property
    def kind(self) -> RecordKind:
        return kind_of(self.series)

    def positions(self) -> list[int]:
        """The positions of the records."""
        at = self.kind.columns.index(self.kind.position)
        return [row[at] for row in self.rows]

    def lines(self) -> bytes:
        """The records as JSON lines."""
        return self.kind.lines(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, at: int) -> tuple[str, bytes]: ...
    @overload
    def __getitem__(self, at: slice) -> RecordRows: ...
    def __getitem__(self, at: int | slice) -> tuple[str, bytes] | RecordRows:
        if isinstance(at, slice):
            return RecordRows(self.series, self.rows[at])
        one = self.rows[at]
        return self.kind.key(self.series, one[self.kind.columns.index(self.kind.position)]), self.kind.lines([one])[:-1]
