"""Reads a file of the archive as pages of records, and compares one whose checksum is wrong with the exchange."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import IO, Any

import msgspec

from streamforge_utils.adapters.binance.zip_member import BLOCK, ZipMember
from streamforge_utils.model.completeness.grid import Grid
from streamforge_utils.model.completeness.rule import Pages
from streamforge_utils.model.errors import BannedError, PermanentError, StreamForgeError
from streamforge_utils.model.kinds.archive_files import ArchiveFiles
from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.model.kinds.paging import ById, ByTime, MalformedPage, Page, Question
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange, format_ms
from streamforge_utils.ports.archive import FileRefused

SAMPLE = 500
"""Records of one comparison with the exchange, at most."""


def read_pages(
    file: IO[bytes],
    name: str,
    kind: RecordKind,
    series: Series,
    span: TimeRange,
    version: int,
    *,
    block: int = BLOCK,
) -> Iterator[Page]:
    """The records of the zip `file`, a block of rows at a time. Raises FileRefused.

    name: of the CSV file in it. span: in which all of them must have happened. version: of the records.
    """
    files = archive_files(kind)
    last: tuple[int, bytes] | None = None
    for rows in ZipMember(file, name, files.check_header).blocks(block):
        try:
            page = files.read(rows, series, version)
        except MalformedPage as error:
            raise FileRefused(str(error)) from error
        if min(page.times) < span.start_ms or max(page.times) >= span.end_ms:
            other = next(time for time in page.times if time not in span)
            raise FileRefused(f"it has a record of {format_ms(other)}, which is not in {span}")
        if last is not None:
            _require_order(kind, last, page)
        last = page.positions[-1], page.values[-1]
        yield page


def archive_files(kind: RecordKind) -> ArchiveFiles:
    """How the archive gives records of the kind. Raises PermanentError where it does not."""
    if kind.archive is None:
        raise PermanentError(f"the archive has no files of {kind.name}")
    return kind.archive


def _require_order(kind: RecordKind, last: tuple[int, bytes], page: Page) -> None:
    position, value = last
    first = page.positions[0]
    if first <= position:
        raise FileRefused(f"{kind.position} {first} follows {position}")
    if broken := kind.break_between(value, page.values[0]):
        raise FileRefused(broken)


class Inspection:
    """Reads a whole file whose checksum is wrong, and keeps samples of it to compare.

    samples: of its beginning, its middle and its end.
    """

    def __init__(self, kind: RecordKind, series: Series) -> None:
        self._last: Page | None = None
        self.samples: list[Page] = []
        self._kind = kind
        self._rule = kind.rule(series)

    def add(self, page: Page, *, sample: bool) -> None:
        """The next page. sample: keep a part of it to compare. Raises FileRefused."""
        if self._last is not None:
            self._require_next(self._last.positions[-1], page.positions[0])
        for before, after in pairwise(page.positions):
            self._require_next(before, after)
        self._last = page
        if sample:
            self.samples.append(part(page, 0, SAMPLE))

    def end(self) -> None:
        """There are no more pages. Raises FileRefused if there were none."""
        if self._last is None:
            raise FileRefused("it has no records that could be compared with the exchange's")
        self.samples.append(part(self._last, max(0, len(self._last) - SAMPLE), len(self._last)))

    def _require_next(self, before: int, after: int) -> None:
        expected = self._rule.next(before) if isinstance(self._rule, Grid) else before + 1
        if after != expected:
            raise FileRefused(f"{self._kind.position} {after} follows {before}, and {expected} should")

    async def compare(self, history: Pages, series: Series) -> None:
        """Ask the exchange for the samples. Raises FileRefused where it has other records, or does not answer."""
        for sample in self.samples:
            question: Question = (
                ByTime(TimeRange(sample.times[0], sample.times[-1] + 1))
                if isinstance(self._rule, Grid)
                else ById(sample.positions[0], limit=len(sample))
            )
            try:
                answer = await history.page(series, question)
            except BannedError:
                raise
            except StreamForgeError as error:
                raise FileRefused(f"its records could not be compared with the exchange's: {error}") from error
            if differs := difference(self._kind, series, sample, answer):
                raise FileRefused(differs)


def difference(kind: RecordKind, series: Series, page: Page, answer: Page) -> str:
    """The first record of a file that the exchange has otherwise; empty: there is none."""
    theirs = _contents(answer)
    for position, mine in _contents(page).items():
        what, other = f"{kind.rule(series).shown(position)} differs:", theirs.get(position)
        if other is None:
            return f"{what} the exchange has none, the file has {_told(mine)}"
        if mine != other:
            name = next(name for name in mine | other if mine.get(name) != other.get(name))
            return f"{what} {name} is {_told(mine.get(name))} in the file and {_told(other.get(name))} at the exchange"
    return ""


def part(page: Page, start: int, end: int) -> Page:
    """Records of a page, by their numbers in it."""
    cut = slice(start, end)
    return Page(page.positions[cut], page.times[cut], page.keys[cut], page.values[cut])


def _contents(page: Page) -> Mapping[int, dict[str, Any]]:
    """The records by their position, without the version."""
    return {
        position: {name: value for name, value in msgspec.json.decode(text).items() if name != "_version"}
        for position, text in zip(page.positions, page.values, strict=True)
    }


def _told(value: object) -> str:
    return msgspec.json.encode(value).decode()
