"""Which files of the archive a loader reads for its ranges."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec

from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.archive import ArchiveFile, Place
from streamforge_utils.runtime.life.settings import SampledFiles

DAY_MS = 86_400_000
REQUESTS_A_SAMPLE = 2000
"""Requests that files save, for one that compares some of their records with the exchange's."""


class Reading(msgspec.Struct, frozen=True):
    """What to take of a file, ascending. file: None where no file has these spans."""

    file: ArchiveFile | None
    spans: tuple[TimeRange, ...]


def is_month(file: ArchiveFile) -> bool:
    """Whether it is a file of more than a day."""
    return file.span.length_ms > DAY_MS


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


def sample_count(files: Sequence[ArchiveFile], kind: RecordKind, which: SampledFiles = "some") -> int:
    """How many requests compare records of the files of a load with the exchange; 0: none are, or can be."""
    if not files or which == "none" or kind.archive is None or kind.paging is None:
        return 0
    if which == "all":  # inside of each, at both ends, and once where two meet
        return 2 * len(files) + 1
    saved = sum(file.size for file in files) / (kind.archive.row_bytes * kind.paging.most)
    return 1 + int(saved / REQUESTS_A_SAMPLE)


def samples(files: Sequence[ArchiveFile], kind: RecordKind) -> dict[str, set[Place]]:
    """Where the files of a load are compared with the exchange, by their paths; those that are first go first.

    By turns where two files meet, and inside of one, drawn by what the files are.
    """
    draw = random.Random(" ".join(f"{one.path} {one.published}" for one in files))  # noqa: S311 - not secret
    meet = [pair for pair in pairwise(files) if pair[0].span.end_ms == pair[1].span.start_ms]
    found: dict[str, set[Place]] = {}
    for number in range(sample_count(files, kind)):
        if meet and number % 2 == 0:
            before, after = draw.choice(meet)
            found.setdefault(before.path, set()).add(Place.LAST)
            found.setdefault(after.path, set()).add(Place.FIRST)
        else:
            found.setdefault(draw.choice(files).path, set()).add(Place.INSIDE)
    return found


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
