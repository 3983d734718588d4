"""Loads history from the archive's files into the output: the next file is fetched while one is read."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Iterable, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

import msgspec

from streamforge_utils.model.coverage import IdsRead, joined_reads, without
from streamforge_utils.model.errors import BannedError, RetryableError
from streamforge_utils.model.kinds.paging import Page
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.archive import ArchiveFile, FileDiffers, FileRefused, Place, VerifiedFile
from streamforge_utils.ports.columns import MessageColumns
from streamforge_utils.runtime.history.archive_plan import Reading, is_month, readings, samples
from streamforge_utils.runtime.history.record_order import RecordOrder
from streamforge_utils.runtime.life.context import Context

BATCH_RECORDS = 20_000
"""Records written at once, about."""

TOLD_RANGES = 500
"""Ranges that the terminal event names, at most; of more it names one that holds all."""

MOST_GAPS = 10_000
"""So many are held while files are read."""

FETCHED_AHEAD = 2
"""Files that are fetched while one is read, at most: the next one, and where a month was refused, its next day too."""

_BEYOND_MS = 3_600_000
"""Records of a file come in the order of their ids: their times may go back, but never so far."""

_NO_FILE = "the archive has no file of it"
UNSERVED = "the archive does not serve it: "
"""Begins the reason for what was left once the archive had failed for a second time."""

P = TypeVar("P", bound=msgspec.Struct)
T = TypeVar("T")
Told = list[tuple[TimeRange, str]]
"""Ranges, each with what is told of it."""


class ArchiveParameters(msgspec.Struct, frozen=True, kw_only=True):
    """A loader of the archive has none."""


async def load_archive(ctx: Context[P]) -> None:
    """Load the worker's ranges from the archive into its output, oldest first.

    Some records of some files are first compared with the exchange's (`samples`). What no file has, or what a file has
    wrongly, is told in the terminal event's `unloaded`; what was taken from a file with a wrong checksum, in
    `disputed`, also before its first record is written; the first and last id of what was read to its end, in `read`.
    Of a kind with ids a millisecond beyond both ends is loaded too: others may share it with what is lacking. Where the
    archive or the disk does not serve, RetryableError is raised in the first attempt; a later one tells the rest as
    `unloaded`. Raises what the output and the bus of events raise.
    """
    loading = _Loading(ctx)
    try:
        await loading.run()
    finally:
        ctx.terminal_extra |= loading.told()
    ctx.progress.share = 1.0


class _Unserved(Exception):
    """The archive or the disk does not serve: its retries are spent. error: what it raised."""

    def __init__(self, error: RetryableError) -> None:
        super().__init__(str(error))
        self.error = error


class _Loading:
    def __init__(self, ctx: Context[Any]) -> None:
        self._ctx = ctx
        self._series = ctx.series
        self._total_ms = sum(span.length_ms for span in ctx.ranges)
        self._done_ms = 0
        self._order = RecordOrder(ctx.kind, ctx.series)
        self._unloaded: Told = []
        self._disputed: Told = []
        self._reported: set[str] = set()
        self._last = b""
        self._reads: list[IdsRead] = []
        self._has_ids = ctx.kind.rule(ctx.series).position_at(0) is None
        self._places: dict[str, set[Place]] = {}
        self._all = ctx.archive_samples == "all"
        self._compared: dict[str, str] = {}
        self._files: Sequence[ArchiveFile] = ()
        self._left: deque[Reading] = deque([Reading(None, ctx.ranges)])
        self._fetching: dict[str, asyncio.Task[VerifiedFile]] = {}

    def told(self) -> dict[str, Any]:
        """What the terminal event tells."""
        found = {"unloaded": self._unloaded, "disputed": self._disputed}
        told: dict[str, Any] = {
            name: _as_told(parts) for name, parts in found.items() if parts or name in self._reported
        }
        if self._reads:
            told["read"] = msgspec.to_builtins(joined_reads(self._reads))
        if self._compared:
            reasons = [reason for reason in self._compared.values() if reason]
            same, many = len(self._compared) - len(reasons), len(self._compared)
            told["samples"] = f"records of {same} of {many} files equal the exchange's" + "".join(
                f"; the rest were not compared: {reason}" for reason in reasons[:1]
            )
        return told

    async def run(self) -> None:
        ctx = self._ctx
        try:
            hull = TimeRange(ctx.ranges[0].start_ms, ctx.ranges[-1].end_ms)
            self._files = await _served(ctx.archive.files(self._series, hull))
            self._left = deque(readings(self._files, ctx.ranges))
            await self._sample_first()
            while self._left:
                reading = self._left.popleft()
                try:
                    await self._load(reading)
                except _Unserved:
                    self._left.appendleft(reading)
                    raise
        except _Unserved as failure:
            if ctx.attempt == 1:
                raise failure.error from None
            # An attempt has failed before: what is left is asked for by other ways.
            ctx.log.warning("the archive does not serve the rest", error=str(failure))
            self._unloaded += [(span, f"{UNSERVED}{failure}") for reading in self._left for span in reading.spans]
        finally:
            for task in self._fetching.values():
                task.cancel()
            await asyncio.gather(*self._fetching.values(), return_exceptions=True)

    async def _load(self, reading: Reading) -> None:
        file = reading.file
        if file is None:
            self._unloaded += [(span, _NO_FILE) for span in reading.spans]
        else:
            told = len(self._disputed)
            try:
                verified = await _served(self._fetch(file))
                self._fetching.pop(file.path)
                self._fetch_next()
                if verified.disputed:  # told before a record is written: who is killed can tell nothing
                    doubts = [(span, verified.disputed) for span in reading.spans]
                    self._disputed += doubts
                    self._reported.add("disputed")
                    await self._ctx.report({"disputed": _as_told(doubts)}, confirmed=True)
                await self._read(reading, verified)
            except FileRefused as error:
                del self._disputed[told:]  # what takes its place is right
                self._fetching.pop(file.path, None)
                if self._has_days(reading, file, str(error)):
                    return
        self._done_ms += sum(span.length_ms for span in reading.spans)
        self._ctx.progress.share = self._done_ms / self._total_ms

    def _has_days(self, reading: Reading, file: ArchiveFile, reason: str) -> bool:
        """Let the days of a month that was refused take its place; what has none is told, and False returned."""
        self._ctx.log.warning("a file of the archive is refused", reason=reason)
        self._order.restart()
        days = readings(self._files, reading.spans, months=False) if is_month(file) else []
        if any(day.file is not None for day in days):
            self._left.extendleft(reversed(days))
            return True
        self._unloaded += [(span, reason) for span in reading.spans]
        return False

    async def _sample_first(self) -> None:
        """Begin with the first files that are to be compared: where one of them differs, so may the others."""
        if self._ctx.archive_samples != "some":
            return
        files = [reading.file for reading in self._left if reading.file is not None]
        self._places = samples(files, self._ctx.kind)
        by_path = {file.path: file for file in files}
        for path in list(self._places)[:2]:
            try:
                await self._fetch(by_path[path])
            except FileRefused:
                continue  # as it will be said where it would be read
            except RetryableError:
                del self._fetching[path]
        if self._all:  # so may what was compared at one place alone
            self._fetching = {path: task for path, task in self._fetching.items() if task.exception()}

    async def _checked(self, file: ArchiveFile) -> VerifiedFile:
        """The file, verified and where that is wanted compared with the exchange."""
        archive = self._ctx.archive
        verified = await archive.verify(self._series, file)
        places = set(Place) if self._all else self._places.get(file.path)
        if not places or verified.disputed:
            return verified
        try:
            reason = await archive.compare(self._series, verified, places)
        except FileDiffers:
            self._all = True
            raise
        if reason:
            self._ctx.log.warning("a file was not compared with the exchange", file=file.path, reason=reason)
        self._compared[file.path] = reason
        return verified

    def _fetch(self, file: ArchiveFile) -> asyncio.Task[VerifiedFile]:
        """The file, or what brings it already."""
        if file.path not in self._fetching:
            self._fetching[file.path] = asyncio.create_task(self._checked(file))
        return self._fetching[file.path]

    def _fetch_next(self) -> None:
        """Begin to fetch the file after the one that is read now."""
        files = (reading.file for reading in self._left if reading.file is not None)
        fetching = sum(not task.done() for task in self._fetching.values())
        if fetching < FETCHED_AHEAD and (file := next(files, None)) is not None:
            self._fetch(file)

    async def _read(self, reading: Reading, verified: VerifiedFile) -> None:
        """Write the records of a file that are wanted. Raises FileRefused."""
        self._order.begin(verified.file)
        pages: list[Page] = []
        spans, noted = reading.spans, _IdsNoted(reading.spans if self._has_ids else ())
        if self._has_ids:
            spans = tuple(TimeRange(max(0, span.start_ms - 1), span.end_ms + 1) for span in spans)
        async with aclosing(self._ctx.archive.records(self._series, verified)) as records:
            while (page := await _served(anext(records, None))) is not None:
                bounds = min(page.times), max(page.times)
                if bounds[0] >= reading.spans[-1].end_ms + _BEYOND_MS:
                    self._order.restart()
                    break
                noted.add(page, self._tell_gaps(page), *bounds)
                if wanted := clipped(page, spans, *bounds):
                    self._require_next(verified.file, wanted)
                    if sum(map(len, pages)) + len(wanted) > BATCH_RECORDS:
                        await self._write(reading, pages)
                        pages = []
                    pages.append(wanted)
        await self._write(reading, pages)
        self._reads += noted.all()

    def _require_next(self, file: ArchiveFile, wanted: Page) -> None:
        """Compare with what was read before of any file, which `RecordOrder` does where the files themselves meet.

        Raises FileRefused.
        """
        if self._last and (broken := self._ctx.kind.break_between(self._last, wanted.values[0])):
            raise FileRefused(f"{file.path}: {broken}")
        self._last = wanted.values[-1]

    def _tell_gaps(self, page: Page) -> list[TimeRange]:
        gaps = list(self._order.gaps(page))
        for gap, reason in gaps:
            for span in self._ctx.ranges:
                if (part := gap.intersection(span)) is not None:
                    self._unloaded.append((part, reason))
            if len(self._unloaded) > MOST_GAPS:
                self._unloaded = _joined(self._unloaded)
            # It may reach back into the file before.
            self._reads = [
                msgspec.structs.replace(one, end_ms=gap.start_ms) if one.start_ms < gap.start_ms < one.end_ms else one
                for one in self._reads
            ]
        return [gap for gap, _ in gaps]

    async def _write(self, reading: Reading, pages: Sequence[Page]) -> None:
        if not pages:
            return
        keys, values = list[bytes | None](), list[bytes]()
        for page in pages:
            keys += page.keys
            values += page.values
        await self._ctx.output.write(MessageColumns(keys, values))
        reached_ms = pages[-1].times[-1]
        done_ms = sum(max(0, min(reached_ms, span.end_ms) - span.start_ms) for span in reading.spans)
        self._ctx.progress.position = reached_ms
        self._ctx.progress.share = (self._done_ms + done_ms) / self._total_ms


async def _served(call: Awaitable[T]) -> T:
    """The result of a call of the archive."""
    try:
        return await call
    except BannedError:
        raise
    except RetryableError as error:
        raise _Unserved(error) from error


class _IdsNoted:
    """The ids that were read of a file in some ranges, apart on both sides of a gap: what is lost beside it shows."""

    def __init__(self, spans: Sequence[TimeRange]) -> None:
        self._spans = spans
        self._reached_ms = spans[0].start_ms if spans else 0
        self._reads: list[IdsRead] = []

    def add(self, page: Page, gaps: Sequence[TimeRange], first_ms: int, last_ms: int) -> None:
        """Note a page with its gaps, those before it included. first_ms, last_ms: of all its records."""
        covered = TimeRange(min(self._reached_ms, first_ms), last_ms + 1)
        self._reached_ms = max(self._reached_ms, covered.end_ms)
        for span in self._spans:
            for part in without(covered.intersection(span), gaps):
                found = clipped(page, [part], first_ms, last_ms).positions
                self._note(part, found[0] if found else None, found[-1] if found else None)

    def all(self) -> tuple[IdsRead, ...]:
        """All of it, after the last page."""
        for span in self._spans:
            if self._reached_ms < span.end_ms:
                self._note(TimeRange(max(span.start_ms, self._reached_ms), span.end_ms), None, None)
        return joined_reads(self._reads)

    def _note(self, part: TimeRange, first_id: int | None, last_id: int | None) -> None:
        self._reads.append(IdsRead(start_ms=part.start_ms, end_ms=part.end_ms, first_id=first_id, last_id=last_id))


def clipped(page: Page, spans: Sequence[TimeRange], first_ms: int, last_ms: int) -> Page:
    """The records of a page that happened in one of the spans, which ascend. first_ms, last_ms: of all of them."""
    touched = [span for span in spans if span.start_ms <= last_ms and span.end_ms > first_ms]
    if len(touched) == 1 and first_ms in touched[0] and last_ms in touched[0]:
        return page
    kept = [number for number, time in enumerate(page.times) if any(time in span for span in touched)]
    return Page(
        [page.positions[number] for number in kept],
        [page.times[number] for number in kept],
        [page.keys[number] for number in kept],
        [page.values[number] for number in kept],
    )


def _joined(parts: Iterable[tuple[TimeRange, str]]) -> Told:
    """Ranges, of which those with one reason that meet are one, and very many are the one around them."""
    found: Told = []
    for span, reason in sorted(parts):
        if found and found[-1][1] == reason and found[-1][0].end_ms >= span.start_ms:
            end_ms = max(found[-1][0].end_ms, span.end_ms)
            found[-1] = (TimeRange(found[-1][0].start_ms, end_ms), reason)
        else:
            found.append((span, reason))
    if len(found) > TOLD_RANGES:
        hull = TimeRange(found[0][0].start_ms, max(span.end_ms for span, _ in found))
        found = [(hull, f"{len(found)} ranges, the first one because {found[0][1]}")]
    return found


def _as_told(parts: Iterable[tuple[TimeRange, str]]) -> list[dict[str, str]]:
    """Ranges as the terminal event has them."""
    return [{"range": str(span), "reason": reason} for span, reason in _joined(parts)]
