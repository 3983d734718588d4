"""What every archive adapter promises. A subclass says how to make one whose files are known."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import msgspec
import pytest
import pytest_asyncio

from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.paging import Page
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from streamforge_utils.ports.archive import Archive, FileDiffers, FileRefused, Place


class KnownFiles(msgspec.Struct, kw_only=True):
    """An archive with two months of files and the days of the second one, but for one day.

    positions: of all records of `series` in `day`, ascending. bad: a day whose file is not to be trusted. lying: a day
    of which the exchange has other records than the file; it has those of `day`.
    symbols: with files of the kind.
    """

    archive: Archive
    series: Series
    months: tuple[str, str]
    day: str
    lacking: str
    bad: str
    lying: str
    positions: list[int]
    symbols: list[str]


class ArchiveContract:
    """The promises of `ports.archive.Archive`."""

    def known_files(self) -> AbstractAsyncContextManager[KnownFiles]:
        """An archive, until it is closed."""
        raise NotImplementedError

    @pytest_asyncio.fixture
    async def known(self) -> AsyncIterator[KnownFiles]:
        async with self.known_files() as known:
            yield known
            await known.archive.close()

    async def test_files_of_a_span_are_those_that_have_a_part_of_it_months_before_their_days(
        self, known: KnownFiles
    ) -> None:
        day = parse_time_range(known.day)
        found = await known.archive.files(known.series, TimeRange(day.start_ms + 1, day.start_ms + 2))
        assert [file.span for file in found] == [parse_time_range(known.months[1]), day]
        both = TimeRange(parse_time_range(known.months[0]).start_ms, parse_time_range(known.months[1]).end_ms)
        spans = [file.span for file in await known.archive.files(known.series, both)]
        assert spans[0] == parse_time_range(known.months[0])
        assert spans == sorted(spans, key=lambda span: (span.start_ms, -span.end_ms))
        assert len(spans) == len(set(spans)) >= 5
        assert parse_time_range(known.lacking) not in spans
        assert all(file.size > 0 and file.published for file in found)
        assert await known.archive.files(known.series, parse_time_range("2001-01-01")) == []
        assert await known.archive.files(Series("NOSUCH", known.series.kind, known.series.interval), both) == []

    async def test_records_of_a_verified_file_are_all_of_it_in_order(self, known: KnownFiles) -> None:
        (file,) = [
            file
            for file in await known.archive.files(known.series, parse_time_range(known.day))
            if file.span == parse_time_range(known.day)
        ]
        verified = await known.archive.verify(known.series, file)
        assert (verified.file, verified.disputed, verified.cached) == (file, "", False)
        assert (await known.archive.verify(known.series, file)).cached
        pages: list[Page] = [page async for page in known.archive.records(known.series, verified)]
        assert [position for page in pages for position in page.positions] == known.positions
        assert all(time in file.span for page in pages for time in page.times)
        assert all(len(page.keys) == len(page.values) == len(page) for page in pages)

    async def test_a_file_that_is_not_to_be_trusted_is_refused_and_the_others_are_not(self, known: KnownFiles) -> None:
        for day, refused in ((known.bad, True), (known.day, False)):
            span = parse_time_range(day)
            (file,) = [f for f in await known.archive.files(known.series, span) if f.span == span]
            if refused:
                with pytest.raises(FileRefused, match=file.path):
                    await known.archive.verify(known.series, file)
            else:
                await known.archive.verify(known.series, file)

    async def test_a_file_is_compared_with_the_exchange_at_each_place(self, known: KnownFiles) -> None:
        for day in (known.day, known.lying):
            span = parse_time_range(day)
            (file,) = [f for f in await known.archive.files(known.series, span) if f.span == span]
            verified = await known.archive.verify(known.series, file)
            if day == known.day:
                assert await known.archive.compare(known.series, verified, [*Place]) == ""
            else:
                with pytest.raises(FileDiffers, match=file.path):
                    await known.archive.compare(known.series, verified, [Place.FIRST])

    async def test_symbols_are_those_with_files_sorted(self, known: KnownFiles) -> None:
        assert await known.archive.symbols(known.series.kind) == known.symbols

    async def test_a_closed_archive_refuses_to_be_asked(self, known: KnownFiles) -> None:
        await known.archive.close()
        with pytest.raises(PermanentError, match="closed"):
            await known.archive.files(known.series, parse_time_range(known.day))
