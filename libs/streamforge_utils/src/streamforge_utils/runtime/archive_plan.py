"""Which files of the archive a loader reads for its ranges."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

import msgspec

from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.archive import ArchiveFile

DAY_MS = 86_400_000


class Reading(msgspec.Struct, frozen=True):
    """What to take of a file, ascending. file: None where no file has these spans."""

    file: ArchiveFile | None
    spans: tuple[TimeRange, ...]


def is_month(file: ArchiveFile) -> bool:
    """Whether it is a file of more than a day."""
    return file.span.end_ms - file.span.start_ms > DAY_MS


def readings(files: Iterable[ArchiveFile], ranges: Sequence[TimeRange], *, months: bool = True) -> list[Reading]:
    """How `ranges`, ascending, are read: whole months from files of months, else days.

    Where a day has no file, that of its month is taken. months: False takes days alone.
    """
    by_start = sorted(files, key=lambda file: file.span.start_ms)
    days = _Files(file for file in by_start if not is_month(file))
    whole = _Files(file for file in by_start if months and is_month(file))
    found: list[tuple[ArchiveFile | None, TimeRange]] = []
    for span in ranges:
        cursor_ms = span.start_ms
        while cursor_ms < span.end_ms:
            month, day = whole.at(cursor_ms), days.at(cursor_ms)
            if month is not None and month.span.intersection(span) != month.span and day is not None:
                month = None
            file = month or day
            if month is not None and month.span.intersection(span) == month.span:
                end_ms = month.span.end_ms
            elif file is not None and file is day:
                end_ms = day.span.end_ms
            else:  # no longer than to where another file may begin
                end_ms = cursor_ms - cursor_ms % DAY_MS + DAY_MS
            part = TimeRange(cursor_ms, min(end_ms, span.end_ms))
            found.append((file, part))
            cursor_ms = part.end_ms
    return _joined(found)


class _Files:
    """Files whose spans do not overlap, by their time."""

    def __init__(self, files: Iterable[ArchiveFile]) -> None:
        self._files = list(files)
        self._starts = [file.span.start_ms for file in self._files]

    def at(self, time_ms: int) -> ArchiveFile | None:
        """The file whose span holds the time."""
        number = bisect_right(self._starts, time_ms) - 1
        return self._files[number] if number >= 0 and time_ms in self._files[number].span else None


def _joined(parts: Iterable[tuple[ArchiveFile | None, TimeRange]]) -> list[Reading]:
    """Parts of one file that follow each other are one reading, and spans that meet are one."""
    found: list[Reading] = []
    for file, span in parts:
        if not found or found[-1].file is not file:
            found.append(Reading(file, (span,)))
            continue
        *before, last = found[-1].spans
        spans = (last, span) if last.end_ms != span.start_ms else (TimeRange(last.start_ms, span.end_ms),)
        found[-1] = Reading(file, (*before, *spans))
    return found
