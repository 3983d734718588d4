"""Writes the stored records of a series into a data set, partition after partition, each whole or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

import msgspec

from streamforge.cli.bar_export import BarRequest, BarTaker, bar_columns, json_lines, price_before
from streamforge.cli.client import path_part
from streamforge.cli.command_errors import CliError
from streamforge.cli.datasets import dataset_manifest as manifests
from streamforge.cli.datasets.calendar_partitions import Part, Period, symbol_folder
from streamforge.cli.datasets.dataset_manifest import Description, PartitionEntry, SymbolManifest, Verdicts
from streamforge.cli.datasets.dataset_places import Folder, Place, cannot
from streamforge.cli.datasets.parquet_part import LEFT_OUT, Columns, ParquetPart
from streamforge.cli.session import Session
from streamforge.cli.stored_records import Reader, Taker
from streamforge.cli.times import Times
from streamforge.cli.writers import import_pyarrow
from streamforge.manager.coverage import answers as data_answers
from streamforge_utils.model.coverage import READ_AT_MOST, Moved, Segment, Verdict, holds, stored_spans
from streamforge_utils.model.errors import ConflictError, RetryableError, StreamForgeError
from streamforge_utils.model.kinds.bars import BarMaker
from streamforge_utils.model.kinds.registry import kind_of, rule_of, series_of
from streamforge_utils.model.timeranges import TimeRange, format_ms
from streamforge_utils.ports.object_store import ABSENT

FILE = "records.parquet"
_LISTED_ROWS, _LISTED_PARTS = 1_000_000, 64
_LIST_TRIES = 50
"""After so many rows, or partitions, the manifest is written: what came later is written again after a kill."""


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """A data set as it is asked for.

    bars: the candles that are made of the records; None: they stay as they are. again: partitions that are as they
    should be are written once more, too.
    """

    place: Place
    period: Period
    times: Times
    bars: BarRequest | None = None
    again: bool = False


class Written(msgspec.Struct, kw_only=True):
    """What an export did to a data set. rows: that the data set has of the range now.

    written, unchanged, kept: partitions; kept ones hold more than what is stored now. holes: ranges that are not
    stored, in these partitions. makers: of the candles that were made.
    """

    span: TimeRange
    rows: int = 0
    bytes: int = 0
    written: int = 0
    unchanged: int = 0
    kept: int = 0
    complete: bool = True
    holes: list[Verdicts] = []
    makers: list[BarMaker] = []

    def take(self, entry: PartitionEntry) -> None:
        """Count what a partition has."""
        self.rows += entry.rows
        self.bytes += entry.bytes
        self.complete = self.complete and entry.complete
        for one in entry.coverage:
            if one.verdict != "stored":
                self._add(one)

    def _add(self, hole: Verdicts) -> None:
        last = self.holes[-1] if self.holes else None
        if last is not None and (last.end_ms, last.verdict) == (hole.start_ms, hole.verdict):
            hole = msgspec.structs.replace(hole, start=last.start, start_ms=last.start_ms)
            self.holes.pop()
        self.holes.append(hole)


class DatasetExport:
    """Writes one series into one data set."""

    def __init__(self, found: Session, reader: Reader, to: Dataset, known: data_answers.Coverage) -> None:
        """known: what is stored, of a span. Raises CliError where pyarrow is not installed."""
        self._found, self._reader, self._to, self._known = found, reader, to, known
        self._series = series_of(known.symbol, known.type)
        self._rule = rule_of(self._series)
        if to.bars is None:
            self._columns = Columns(import_pyarrow(), kind_of(self._series), to.times, left_out=LEFT_OUT)
        else:
            to.bars.check(self._series)
            self._columns = bar_columns(to.bars, to.times, left_out=LEFT_OUT)
        self._folder = symbol_folder(known.symbol)
        self._list_name = f"{self._folder}/{manifests.NAME}"
        self._list_sha256, self._changed = ABSENT, set[str]()
        self._description = Description(
            type=known.type,
            partition=to.period.value,
            time=to.times.value,
            made="" if to.bars is None else to.bars.made,
            columns=self._columns.described(),
        )

    async def run(self) -> Written | None:
        """Write what lacks or has changed; None: nothing is stored of the span.

        Raises StreamForgeError; the partitions that were finished before stay, and are listed.
        """
        span, place = self._known.span, self._to.place
        if span is None:
            return None
        held: AbstractContextManager[None] = place.held(self._folder) if isinstance(place, Folder) else nullcontext()
        with held:
            entries = await self._listed()
            parts = self._parts(TimeRange(span.start_ms, span.end_ms), entries)
            if not parts:
                return None
            whole = TimeRange(parts[0].within.start_ms, parts[-1].within.end_ms)
            segments = await self._segments(whole, span)
            if not any(one.verdict == "stored" for one in segments) and not any(p.name in entries for p in parts):
                return None
            await self._describe()
            done = Written(span=whole)
            await self._write(parts, segments, entries, done)
        return done

    async def _write(
        self,
        parts: Sequence[Part],
        segments: Sequence[data_answers.Segment],
        entries: dict[str, PartitionEntry],
        done: Written,
    ) -> None:
        unlisted = unlisted_rows = 0
        try:
            for part in parts:
                entry = await self._partition(part, segments, entries.get(part.name), done)
                done.take(entry)
                if entries.get(part.name) == entry:
                    continue
                entries[part.name] = entry
                self._changed.add(part.name)
                unlisted, unlisted_rows = unlisted + 1, unlisted_rows + entry.rows
                if unlisted >= _LISTED_PARTS or unlisted_rows >= _LISTED_ROWS:
                    await self._list(entries)
                    unlisted = unlisted_rows = 0
        except BaseException:
            if unlisted:
                with suppress(StreamForgeError):  # the first error is the one to tell
                    await self._list(entries)
            raise
        if unlisted:
            await self._list(entries)

    async def _partition(
        self, part: Part, segments: Sequence[data_answers.Segment], before: PartitionEntry | None, done: Written
    ) -> PartitionEntry:
        """Write a partition, again where other collections hold it than when it was begun. Raises StreamForgeError."""
        made, tries = len(done.makers), 1
        while True:
            try:
                return await self._attempt(part, manifests.verdicts_in(segments, part.within), before, done)
            except Moved:
                if tries == READ_AT_MOST:
                    raise
                tries += 1
                del done.makers[made:]
                segments = await self._now(part.within)

    async def _attempt(
        self, part: Part, verdicts: list[Verdicts], before: PartitionEntry | None, done: Written
    ) -> PartitionEntry:
        version = manifests.version_of(part.within, verdicts, "")
        if before is not None and not self._to.again and await self._is_there(before):
            if before.version == version:
                done.unchanged += 1
                if self._to.bars is not None:
                    done.makers.append(self._to.bars.maker(self._known, part.within, verdicts, None))
                return before
            if not holds(stored_spans(verdicts), stored_spans(before.coverage)):
                done.kept += 1
                return before
        name = f"{self._folder}/{part.name}/{FILE}"
        entry = PartitionEntry(
            partition=part.name,
            file=None,
            start=format_ms(part.within.start_ms),
            end=format_ms(part.within.end_ms),
            start_ms=part.within.start_ms,
            end_ms=part.within.end_ms,
            rows=0,
            complete=manifests.is_complete(verdicts),
            version=version,
            coverage=verdicts,
        )
        written = await self._file(name, part, verdicts, done)
        done.written += 1
        if written is None:
            await self._to.place.remove(name)
            return entry
        return msgspec.structs.replace(
            entry,
            file=name,
            rows=written.rows,
            bytes=written.size,
            sha256=written.sha256,
            first=written.first,
            last=written.last,
        )

    async def _file(self, name: str, part: Part, verdicts: Sequence[Verdicts], done: Written) -> ParquetPart | None:
        """Write the records of a partition; None: it has none."""
        draft = self._to.place.draft(name)
        try:
            with self._writing(draft) as file:
                await self._fill(file, part, verdicts, done)
                if not file.rows:
                    return None
                file.close()
            await self._to.place.store(draft, name)
            return file
        finally:
            self._to.place.discard(draft)

    @contextmanager
    def _writing(self, draft: Path) -> Iterator[ParquetPart]:
        """A file that is let go of at the end of the block. Raises CliError where it cannot be written."""
        try:
            file = ParquetPart(draft, self._columns)
            try:
                yield file
            finally:
                file.abandon()
        except OSError as error:
            raise cannot("written", draft.parent, error) from error

    async def _fill(self, file: ParquetPart, part: Part, verdicts: Sequence[Verdicts], done: Written) -> None:
        bars, stored = self._to.bars, [one for one in verdicts if one.verdict == "stored"]
        if bars is None:
            async with self._reader.reading(self._known, stored):
                for one in stored:
                    await self._copy(one, file)
            return
        start_ms = part.within.start_ms
        before, earlier = await price_before(self._found, self._reader, self._known, bars, start_ms)
        maker = bars.maker(self._known, part.within, [*earlier, *verdicts], before)
        taker = BarTaker(maker, lambda some: file.lines(json_lines(some)))
        async with self._reader.reading(self._known, [*earlier, *stored]):
            for one in stored:
                await self._copy(one, taker)
        taker.end()
        done.makers.append(maker)

    async def _copy(self, one: Verdicts, taker: Taker) -> None:
        model = Segment(
            start_ms=one.start_ms, end_ms=one.end_ms, verdict=Verdict.STORED, collection=one.collection or None
        )
        expected = self._rule.expected(model, None)
        segment = data_answers.Segment(
            start=one.start,
            end=one.end,
            start_ms=one.start_ms,
            end_ms=one.end_ms,
            verdict="stored",
            collection=one.collection,
        )
        await self._reader.segment(self._known, segment, taker, None if expected is None else len(expected))

    async def _is_there(self, entry: PartitionEntry) -> bool:
        return entry.file is None or await self._to.place.size(entry.file) == entry.bytes

    async def _listed(self) -> dict[str, PartitionEntry]:
        """The partitions of the symbol, by name. Raises CliError where the data set is another than is asked for."""
        place = self._to.place
        text = await place.read(manifests.NAME)
        if text is not None:
            there = manifests.described(text, f"{place}/{manifests.NAME}")
            self._check(there)
        text = await place.read(self._list_name)
        self._list_sha256 = ABSENT if text is None else hashlib.sha256(text).hexdigest()
        if text is None:
            return {}
        listed = manifests.listed(text, f"{place}/{self._list_name}")
        return {one.partition: one for one in listed.partitions}

    def _check(self, there: Description) -> None:
        wanted = self._description
        for field in ("type", "made", "partition", "time", "columns"):
            if (is_one := getattr(there, field)) != (asked := getattr(wanted, field)):
                raise CliError(
                    f"{self._to.place} is a data set with the {field} {is_one or 'none'}, not {asked or 'none'}: write "
                    "to another folder, or ask for what it has"
                )

    def _parts(self, span: TimeRange, entries: dict[str, PartitionEntry]) -> list[Part]:
        """The partitions of the span; what a partition has of the time outside of the span stays in it."""
        parts = list(self._to.period.cut(span))
        for index in {0, len(parts) - 1}:
            part = parts[index]
            if (before := entries.get(part.name)) is not None:
                start_ms = min(part.within.start_ms, before.start_ms)
                end_ms = max(part.within.end_ms, before.end_ms)
                parts[index] = msgspec.structs.replace(part, within=TimeRange(start_ms, end_ms))
        if self._to.bars is None:
            return parts
        # A candle lies in the partition in which it opens, whole.
        grid, last_ms = self._to.bars.interval.grid, parts[-1].within.end_ms
        spans = [(grid.ceil(one.within.start_ms), min(grid.ceil(one.within.end_ms), last_ms)) for one in parts]
        return [
            msgspec.structs.replace(part, within=TimeRange(start_ms, end_ms))
            for part, (start_ms, end_ms) in zip(parts, spans, strict=True)
            if start_ms < end_ms
        ]

    async def _segments(self, whole: TimeRange, span: data_answers.CoverageSpan) -> Sequence[data_answers.Segment]:
        """What is known of `whole`, which holds `span`."""
        known = self._known
        return known.segments if whole == TimeRange(span.start_ms, span.end_ms) else await self._now(whole)

    async def _now(self, span: TimeRange) -> Sequence[data_answers.Segment]:
        """What the coverage says of `span` now."""
        known = self._known
        path = f"/coverage/{path_part(known.symbol)}/{path_part(known.type)}"
        return (await self._found.api.get(path, data_answers.Coverage, {"time_range": str(span)})).segments

    async def _describe(self) -> None:
        """Write what the data set is, where that is not written yet; of two that begin it one writes it."""
        place = self._to.place
        if await place.read(manifests.NAME) is not None:
            return
        with suppress(ConflictError):  # it is there meanwhile
            await self._put(manifests.NAME, manifests.encoded(self._description), ABSENT)
        text = await place.read(manifests.NAME)
        if text is not None:
            self._check(manifests.described(text, f"{place}/{manifests.NAME}"))

    async def _list(self, entries: dict[str, PartitionEntry]) -> None:
        """Write the list; what other exports have listed since it was read stays, but for what this one has written."""
        for _ in range(_LIST_TRIES):
            partitions = [entries[name] for name in sorted(entries)]
            text = manifests.encoded(SymbolManifest(symbol=self._known.symbol, partitions=partitions))
            try:
                await self._put(self._list_name, text, self._list_sha256)
            except ConflictError:
                entries |= {name: one for name, one in (await self._listed()).items() if name not in self._changed}
                continue
            self._list_sha256 = hashlib.sha256(text).hexdigest()
            return
        raise RetryableError(
            f"{self._to.place}/{self._list_name} was changed by other exports {_LIST_TRIES} times while it wrote it: "
            "run this export again; it continues where it was"
        )

    async def _put(self, name: str, content: bytes, expected: str) -> None:
        draft = self._to.place.draft(self._list_name)  # where the next export removes it if this one is killed
        try:
            _write_draft(draft, content)
            await self._to.place.store(draft, name, expected=expected)
        finally:
            self._to.place.discard(draft)


def _write_draft(draft: Path, content: bytes) -> None:
    try:
        draft.write_bytes(content)
    except OSError as error:
        raise cannot("written", draft.parent, error) from error
