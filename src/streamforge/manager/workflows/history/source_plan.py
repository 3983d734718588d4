"""Which part of what is lacking comes from the exchange's files, and which is asked for by requests.

A file is worth its download where it saves more than a few requests. What no file has is asked for by requests, unless
files are all that is wanted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from streamforge.manager.engine.lifecycle.rounds import MAX_RANGES
from streamforge.manager.workflows.series.model import Part
from streamforge.manager.workflows.series.part_codes import PartCode
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.model.kinds.registry import kind_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange, format_ms
from streamforge_utils.model.usage import shown_size
from streamforge_utils.ports.archive import Archive, ArchiveFile
from streamforge_utils.runtime.history.archive_plan import DAY_MS, is_month, readings
from streamforge_utils.runtime.life.worker_definition import Source

FEW_REQUESTS = 5
"""What so many requests give is not worth a file."""
LIST_WITHIN_S = 30.0
"""How long a plan waits for the archive, where requests can take its place."""
_LATE_MS = 4 * DAY_MS
"""A file of a day that was over so long ago may still come."""
_MONTH_WITHIN_MS = 7 * DAY_MS
"""A file of a month comes within the week after it."""
_REASONS = 3


class Divided(NamedTuple):
    """parts: what is to be loaded. unknown: what cannot be, each with the cause. older: records of parts that lie
    before the first one that requests give, about. files: as `Sources` has them.
    """

    parts: list[Part]
    unknown: list[Segment]
    older: int = 0
    files: tuple[ArchiveFile, ...] = ()


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan knows of its sources.

    records: of a range, about; None: not known. floor_ms: requests give nothing before it, and floor is why. alone:
    why files are the only source. again: what is stored is wanted, too. files: that are published and whole.
    silence: why no file is known, although there may be some.
    """

    kind: RecordKind
    now_ms: int
    records: Callable[[TimeRange], int | None]
    floor_ms: int = 0
    floor: str = ""
    alone: str = ""
    again: bool = False
    files: tuple[ArchiveFile, ...] = ()
    silence: str = ""

    async def divide(
        self, archive: Archive | None, series: Series, ranges: Sequence[TimeRange], without: str = ""
    ) -> Divided:
        """The parts of `ranges` (sorted, disjoint). without: why the archive is not asked.

        Raises RetryableError or PermanentError if the archive does not answer, and is the only source.
        """
        below = [one for one in ranges if one.start_ms < self.floor_ms]
        if not ranges or (archive is None and not self.alone):
            unknown = [_unknown(one, self.floor) for one in below]
            parts = [self._part(one, Source.REST, [_REQUESTS_ALONE]) for one in ranges if one not in below]
            return Divided(parts, unknown)
        if not (without or below or self.alone or self._need_files(ranges)):
            return self._divided([_Piece(one, Source.REST, [_few(self.requests(one))]) for one in ranges])
        listed = msgspec.structs.replace(self, silence=without)
        if archive is not None and not without:
            listed = await self._listed(archive, series, TimeRange(ranges[0].start_ms, ranges[-1].end_ms))
        pieces = [piece for span in ranges for piece in listed._pieces(span)]
        return listed._divided(pieces if len(pieces) <= MAX_RANGES else listed._fewer(ranges))

    def requests(self, span: TimeRange) -> int:
        """How many requests give the records of `span`, about."""
        records, most = self.records(span), 1 if self.kind.paging is None else self.kind.paging.most
        return max(1, -(-(self.held(span) if records is None else records) // most))

    def held(self, span: TimeRange) -> int:
        """How many records of `span` its files have, about."""
        row_bytes, found = 1 if self.kind.archive is None else self.kind.archive.row_bytes, 0.0
        for one in chosen_files(self.files, span):
            common = one.span.intersection(span)
            found += 0 if common is None else common.length_ms / one.span.length_ms * one.size / row_bytes
        return round(found)

    def _need_files(self, ranges: Iterable[TimeRange]) -> bool:
        """Whether the files of `ranges` are worth a look: they are not if a few requests give all."""
        found = list(ranges)
        return any(self.records(one) is None for one in found) or sum(map(self.requests, found)) > FEW_REQUESTS

    async def _listed(self, archive: Archive, series: Series, span: TimeRange) -> Sources:
        try:
            async with asyncio.timeout(None if self.alone else LIST_WITHIN_S):
                files = await archive.files(series, span)
        except (RetryableError, PermanentError, TimeoutError) as error:
            if self.alone:
                raise
            reason = str(error) or f"not within {LIST_WITHIN_S:g} s"
            return msgspec.structs.replace(self, silence=f"the archive does not answer: {reason}")
        return msgspec.structs.replace(self, files=tuple(one for one in files if one.span.end_ms <= self.now_ms))

    def _divided(self, pieces: Iterable[_Piece]) -> Divided:
        found = Divided([], [])
        older = 0
        for piece in pieces:
            if piece.source is None:
                cause = (f"{self.alone}: " if self.alone else "") + _several(piece.reasons)
                found.unknown.append(_unknown(piece.span, cause))
                continue
            is_archive = piece.source is Source.ARCHIVE
            why = [self._saving(piece.span)] if is_archive else piece.reasons
            found.parts.append(self._part(piece.span, piece.source, why))
            older += self.held(piece.span) if is_archive and piece.span.start_ms < self.floor_ms else 0
        return found._replace(older=older, files=self.files)

    def _fewer(self, ranges: Sequence[TimeRange]) -> list[_Piece]:
        """The pieces where there are too many: the shortest ranges are asked for by requests alone."""
        pieces = {span: self._pieces(span) for span in ranges}
        count = sum(map(len, pieces.values()))
        for span in sorted(ranges, key=lambda span: span.length_ms):
            if count <= MAX_RANGES:
                break
            if self.alone or span.start_ms < self.floor_ms:
                continue
            count -= len(pieces[span]) - 1
            pieces[span] = [_Piece(span, Source.REST, [_TOO_MANY])]
        return [piece for span in ranges for piece in pieces[span]]

    def _pieces(self, span: TimeRange) -> list[_Piece]:
        """`span` by source: what follows each other and has the same one is one piece."""
        found: list[_Piece] = []
        for part, has_file in _covered(span, self.files):
            for piece in self._assigned(part, has_file=has_file):
                last = found[-1] if found else None
                if last is not None and last.source is piece.source:
                    joined = TimeRange(last.span.start_ms, piece.span.end_ms)
                    found[-1] = _Piece(joined, last.source, [*last.reasons, *piece.reasons])
                else:
                    found.append(piece)
        return found

    def _assigned(self, span: TimeRange, *, has_file: bool) -> list[_Piece]:
        requestable = not self.alone and span.start_ms >= self.floor_ms
        if has_file:
            requests = self.requests(span) if requestable else 0
            if requestable and requests <= FEW_REQUESTS:
                return [_Piece(span, Source.REST, [_few(requests)])]
            return [_Piece(span, Source.ARCHIVE, [])]
        why = [(span, self._silent)] if self.silence else _absence(span, self.now_ms)
        if self.alone:
            return [_Piece(one, None, [reason]) for one, reason in why]
        pieces = []
        none = [_Why(PartCode.ONLY_FILES, self.floor), *([self._silent] if self.silence else [])]
        for one, reason in why:
            below = one.intersection(TimeRange(0, self.floor_ms)) if self.floor_ms > 0 else None
            if below is not None:
                pieces.append(_Piece(below, None, none))
            if one.end_ms > self.floor_ms:
                above = TimeRange(max(one.start_ms, self.floor_ms), one.end_ms)
                pieces.append(_Piece(above, Source.REST, [reason]))
        return pieces

    @property
    def _silent(self) -> _Why:
        return _Why(PartCode.ARCHIVE_FAILED, self.silence)

    def _part(self, span: TimeRange, source: Source, why: Sequence[_Why]) -> Part:
        reason = ("it was asked for again: " if self.again else "") + _several(why)
        codes = dict.fromkeys(([PartCode.ASKED_AGAIN] if self.again else []) + [one.code for one in why])
        instead = bool(self.silence) and source is Source.REST
        return Part(span=span, source=source, reason=reason, codes=tuple(codes), instead=instead)

    def _saving(self, span: TimeRange) -> _Why:
        """Why `span` comes from files."""
        files = chosen_files(self.files, span)
        what = f"{_period(files)}: {_files(files)} of {shown_size(sum(one.size for one in files))}"
        if span.start_ms < self.floor_ms:
            return _Why(PartCode.ONLY_FILES, f"{what}; {self.floor}")
        requests = _many(self.requests(span), "request")
        return _Why(PartCode.FILES_SAVE_REQUESTS, f"{what} instead of {requests}")


class _Why(NamedTuple):
    code: PartCode
    text: str


_REQUESTS_ALONE = _Why(PartCode.REQUESTS_ALONE, "by requests alone: no archive is asked")
_TOO_MANY = _Why(PartCode.TOO_MANY_PARTS, "its parts are too many for files")


class _Piece(NamedTuple):
    """source: None: there is none."""

    span: TimeRange
    source: Source | None
    reasons: list[_Why]


def chosen_files(files: Iterable[ArchiveFile], span: TimeRange) -> list[ArchiveFile]:
    """The files that a loader reads for `span`, in their order."""
    return [one.file for one in readings(files, [span]) if one.file is not None]


def file_due_ms(series: Series, span: TimeRange) -> int:
    """Until when a file of the end of `span` may come."""
    files, last_ms = kind_of(series).archive, span.end_ms - 1
    if files is None or files.has_days(series):
        return last_ms - last_ms % DAY_MS + DAY_MS + _LATE_MS
    month = datetime.fromtimestamp(last_ms // 1000, UTC).replace(day=1, hour=0, minute=0, second=0)
    next_month = month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)
    return int(next_month.timestamp()) * 1000 + _MONTH_WITHIN_MS + _LATE_MS


def _covered(span: TimeRange, files: Iterable[ArchiveFile]) -> list[tuple[TimeRange, bool]]:
    """`span` in pieces, each with whether files have it."""
    found: list[tuple[TimeRange, bool]] = []
    cursor_ms = span.start_ms

    def add(end_ms: int, *, has_file: bool) -> None:
        nonlocal cursor_ms
        if end_ms <= cursor_ms:
            return
        if found and found[-1][1] is has_file:
            found[-1] = (TimeRange(found[-1][0].start_ms, end_ms), has_file)
        else:
            found.append((TimeRange(cursor_ms, end_ms), has_file))
        cursor_ms = end_ms

    for one in sorted(files, key=lambda one: one.span.start_ms):
        if (common := one.span.intersection(span)) is not None:
            add(common.start_ms, has_file=False)
            add(common.end_ms, has_file=True)
    add(span.end_ms, has_file=False)
    return found


def _absence(span: TimeRange, now_ms: int) -> list[tuple[TimeRange, _Why]]:
    """Why there is no file of `span`, of what is over and of the day that is not."""
    today_ms = now_ms - now_ms % DAY_MS
    found = []
    over = span.intersection(TimeRange(0, today_ms)) if today_ms else None
    if over is not None:
        yet = " yet" if over.end_ms > now_ms - _LATE_MS else ""
        found.append((over, _Why(PartCode.NO_FILE, f"no file of {_days(over)}{yet}")))
    if span.end_ms > today_ms:
        now = TimeRange(max(span.start_ms, today_ms), span.end_ms)
        found.append((now, _Why(PartCode.DAY_NOT_OVER, f"{_date(today_ms)} is not over")))
    return found


def _unknown(span: TimeRange, cause: str) -> Segment:
    return Segment(start_ms=span.start_ms, end_ms=span.end_ms, verdict=Verdict.UNKNOWN, cause=cause)


def _several(reasons: Iterable[_Why]) -> str:
    found = list(dict.fromkeys(one.text for one in reasons))
    more = f"; and {len(found) - _REASONS} more reasons" if len(found) > _REASONS else ""
    return "; ".join(found[:_REASONS]) + more


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _few(requests: int) -> _Why:
    return _Why(PartCode.FEW_REQUESTS, _many(requests, "request"))


def _date(time_ms: int) -> str:
    return format_ms(time_ms)[:10]


def _days(span: TimeRange) -> str:
    """The days that `span` touches."""
    first, last = _date(span.start_ms), _date(span.end_ms - 1)
    return first if first == last else f"{first} to {last}"


def _period(files: Sequence[ArchiveFile]) -> str:
    """The months or days of the files: `2024-03`, `2024-01 to 2024-10`, `2024-03-05`."""

    def name(file: ArchiveFile) -> str:
        return _date(file.span.start_ms)[: 7 if is_month(file) else 10]

    first, last = name(files[0]), name(files[-1])
    return first if first == last else f"{first} to {last}"


def _files(files: Sequence[ArchiveFile]) -> str:
    months = sum(map(is_month, files))
    counts = [(months, "monthly"), (len(files) - months, "daily")]
    if len(files) == 1:
        return f"a {'monthly' if months else 'daily'} file"
    return " and ".join(f"{count} {word}" for count, word in counts if count) + " files"
