"""Whether the records that a loader reads follow each other as their kind wants."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from streamforge_utils.model.completeness.grid import Grid
from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.model.kinds.paging import Page
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.archive import ArchiveFile, FileRefused

LACKS = " lacks "
"""Is in the reason for a gap of a file that was read, and in no other one for which a file is done without."""


class RecordOrder:
    """Follows the records of files, across the seams between them."""

    def __init__(self, kind: RecordKind, series: Series) -> None:
        self._kind = kind
        self._rule = kind.rule(series)
        self._file: ArchiveFile | None = None
        self._before: ArchiveFile | None = None  # at the seam
        self._last: tuple[int, int, bytes] | None = None

    def restart(self) -> None:
        """What comes next follows nothing."""
        self._last = None

    def begin(self, file: ArchiveFile) -> None:
        """A file begins."""
        if self._file is None or self._file.span.end_ms != file.span.start_ms:
            self.restart()
        self._before, self._file = self._file if self._last is not None else None, file

    def gaps(self, page: Page) -> Iterator[tuple[TimeRange, str]]:
        """The times in which records lack before or in the page, each with the reason.

        Raises FileRefused where the page does not follow the one before.
        """
        position, time_ms, value = self._last or (None, 0, b"")
        self._last = page.positions[-1], page.times[-1], page.values[-1]
        first = page.positions[0]
        if position is not None:
            if first <= position:
                raise FileRefused(f"{self._path}: it begins with {self._kind.position} {first}, after {position}")
            if broken := self._kind.break_between(value, page.values[0]):
                raise FileRefused(f"{self._path}: {broken}")
            yield from self._gap(position, time_ms, first, page.times[0])
        self._before = None
        if not self._is_consecutive(page):
            places = list(zip(page.positions, page.times, strict=True))
            for (before, before_ms), (after, after_ms) in pairwise(places):
                yield from self._gap(before, before_ms, after, after_ms)

    def _is_consecutive(self, page: Page) -> bool:
        step = 1 if not isinstance(self._rule, Grid) else self._rule.step_ms
        return step is not None and page.positions[-1] - page.positions[0] == step * (len(page) - 1)

    def _gap(self, before: int, before_ms: int, after: int, after_ms: int) -> Iterator[tuple[TimeRange, str]]:
        if isinstance(self._rule, Grid):
            start_ms = self._rule.next(before)
            if start_ms < after:
                yield TimeRange(start_ms, after), f"{self._named(after)}{LACKS}it"
        elif after > before + 1:
            # Its ids lie between two that are there. Who asks for it by time looks at the instants beside it as well.
            start_ms, end_ms = before_ms + 1, max(before_ms + 2, after_ms)
            if before_ms >= after_ms:  # times may go back
                start_ms, end_ms = after_ms, before_ms + 1
            lacking = f"{before + 1}" if after == before + 2 else f"{before + 1} to {after - 1}"
            yield (
                TimeRange(start_ms, end_ms),
                f"{self._named(max(before_ms, after_ms) + 1)}{LACKS}{self._kind.position} {lacking}",
            )

    def _named(self, end_ms: int) -> str:
        """The file that lacks records before `end_ms`, or the two of which one does."""
        if self._before is None or self._file is None:
            return self._path
        return self._before.path if end_ms <= self._file.span.start_ms else f"{self._before.path} or {self._path}"

    @property
    def _path(self) -> str:
        return "the archive" if self._file is None else self._file.path
