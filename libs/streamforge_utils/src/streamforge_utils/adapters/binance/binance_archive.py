"""The archive port on Binance's public data: zips of CSV files with a checksum beside each, and a listing of them.

A published checksum is wrong at times. A file that does not meet its own is fetched once more, then put into the
quarantine, and taken in only if everything in it is right and the exchange has the same records.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator, Mapping, Sequence
from typing import IO

import msgspec

from streamforge_utils.adapters.binance.archive_cache import ArchiveCache, Entry, Note, Part
from streamforge_utils.adapters.binance.archive_listing import (
    CHECKSUM,
    DAYS,
    MONTHS,
    PAGE,
    ROOT,
    Listed,
    files_of,
    narrow,
    published_ms,
    stem_path,
)
from streamforge_utils.adapters.binance.archive_reader import Inspection, archive_files, read_pages
from streamforge_utils.adapters.binance.archive_samples import Sampler, read_samples
from streamforge_utils.adapters.binance.archive_transport import ArchiveTransport, Elsewhere, Gone
from streamforge_utils.adapters.binance.zip_member import BLOCK, ZipMember
from streamforge_utils.adapters.call_thread import Lane
from streamforge_utils.model.completeness.rule import Pages
from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.model.kinds.paging import Page
from streamforge_utils.model.kinds.registry import kind_named, kind_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.archive import ArchiveFile, FileRefused, Place, VerifiedFile
from streamforge_utils.ports.clock import Clock

LISTING_PAGES = 200
"""Pages of a listing, at most: 200,000 files, or symbols."""

_CHECKSUM_LINE = re.compile(rb"\s*([0-9a-fA-F]{64})[ \t]+\*?([^\r\n]+?)\s*")


class BinanceArchive:
    """An archive at one URL, with a cache. history: the exchange, for samples.

    block: bytes of rows that are read at once.
    """

    def __init__(
        self,
        transport: ArchiveTransport,
        cache: ArchiveCache,
        *,
        clock: Clock,
        history: Pages | None = None,
        block: int = BLOCK,
    ) -> None:
        self._transport = transport
        self._cache = cache
        self._clock = clock
        self._history = history
        self._sampler = Sampler(history)
        self._block = block

    async def files(self, series: Series, span: TimeRange) -> Sequence[ArchiveFile]:
        """See `ports.archive`; a listing of many files is read page after page."""
        files = archive_files(kind_of(series))
        found: list[ArchiveFile] = []
        for period in (MONTHS, DAYS) if files.has_days(series) else (MONTHS,):
            path = stem_path(files, series, period)
            prefix, before = narrow(path, period, span)
            async for listed in self._pages({"prefix": prefix}, {"start-after": before}):
                found += files_of(listed.keys, path, period, span)
        return sorted(found, key=lambda file: (file.span.start_ms, -file.span.end_ms))

    async def symbols(self, kind: str) -> Sequence[str]:
        """See `ports.archive`."""
        files, found = archive_files(kind_named(kind)), set[str]()
        for period in (MONTHS, DAYS):
            prefix = f"{ROOT}/{period}/{files.folder}/"
            async for listed in self._pages({"prefix": prefix, "delimiter": "/"}):
                found |= {one.removeprefix(prefix).strip("/") for one in listed.prefixes if one.startswith(prefix)}
        return sorted(found - {""})

    async def _pages(self, asked: Mapping[str, str], more: Mapping[str, str] | None = None) -> AsyncIterator[Listed]:
        """The pages of a listing. more: parameters of the first one alone."""
        following = dict(more or {})
        for _ in range(LISTING_PAGES):
            listed = await self._transport.listing({**asked, "max-keys": str(PAGE), **following})
            yield listed
            if not listed.more:
                return
            if listed.more == following:
                raise RetryableError(f"the archive's listing of {asked['prefix']} names the same page as the next one")
            following = dict(listed.more)
        raise PermanentError(f"the archive lists more than {LISTING_PAGES * PAGE} files in {asked['prefix']}")

    async def verify(self, series: Series, file: ArchiveFile) -> VerifiedFile:
        """See `ports.archive`; a file that another worker downloads is waited for."""
        archive_files(kind_of(series))
        entry = self._cache.entry(str(self._transport.url), file.path)
        async with self._cache.locked(entry):
            note = self._cache.known(entry)
            if note is not None and note.published == file.published:
                if note.disputed and not await self._mismatch(file, note.sha256):
                    note = msgspec.structs.replace(note, disputed="")  # the checksum was put right
                    self._cache.note(entry, note)
                return VerifiedFile(file=file, sha256=note.sha256, disputed=note.disputed, cached=True)
            self._cache.make_room(entry, file)
            try:
                return await self._downloaded(series, file, entry)
            except FileRefused as error:
                self._cache.quarantine(entry, str(error))
                raise

    async def records(self, series: Series, file: VerifiedFile) -> AsyncGenerator[Page, None]:
        """See `ports.archive`; the next block is read while the one before is worked on."""
        entry, opened = await self._opened(series, file)
        lane = Lane("archive")
        pages = read_pages(
            opened,
            _member(file.file),
            kind_of(series),
            series,
            file.file.span,
            self._version(file.file),
            block=self._block,
        )
        following: asyncio.Task[Page | None] | None = None
        try:
            following = asyncio.create_task(lane.run(_next, pages))
            while (page := await following) is not None:
                following = asyncio.create_task(lane.run(_next, pages))
                yield page
        except FileRefused as error:
            async with self._cache.locked(entry):
                self._cache.quarantine(entry, str(error))
            raise FileRefused(f"{file.file.path}: {error}") from error
        finally:
            if following is not None:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
            await lane.close(opened.close)

    async def compare(self, series: Series, file: VerifiedFile, places: Collection[Place]) -> str:
        """See `ports.archive`; where two files meet, the answer is kept for the other one."""
        kind, lane, seed = kind_of(series), Lane("archive"), int(file.sha256[:15], 16)
        if kind.paging is None:
            return f"the exchange gives no {kind.name} by requests"
        entry, opened = await self._opened(series, file)
        try:
            samples = await lane.run(read_samples, opened, _member(file.file), kind, series, places, seed, self._block)
            reasons = [await self._sampler.compare(kind, series, file.file.span, *one) for one in samples.items()]
            return next(filter(None, reasons), "" if reasons else "it has no records")
        except FileRefused as error:
            async with self._cache.locked(entry):
                self._cache.quarantine(entry, str(error))
            raise type(error)(f"{file.file.path}: {error}") from error
        finally:
            await lane.close(opened.close)

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def _opened(self, series: Series, file: VerifiedFile) -> tuple[Entry, IO[bytes]]:
        entry = self._cache.entry(str(self._transport.url), file.file.path)
        opened = self._cache.opened(entry)
        if opened is None:  # another worker needed its room
            again = await self.verify(series, file.file)
            if (again.sha256, again.disputed) != (file.sha256, file.disputed):
                raise RetryableError(f"{file.file.path} was replaced while it was read: read it again")
            opened = self._cache.opened(entry)
        if opened is None:
            raise RetryableError(f"{entry.zip} was removed twice: raise STREAMFORGE_ARCHIVE_CACHE_BYTES")
        return entry, opened

    def _version(self, file: ArchiveFile) -> int:
        """When the file was published: what the exchange is asked later, is a later observation."""
        return min(published_ms(file.published), self._clock.now_ms())

    async def _downloaded(self, series: Series, file: ArchiveFile, entry: Entry) -> VerifiedFile:
        sha256, size = await self._fetch(file, entry)
        problem = await self._mismatch(file, sha256)
        if problem:
            # It may have been replaced between the two requests, or damaged on its way: all of it once more.
            entry.remove()
            sha256, size = await self._fetch(file, entry)
            problem = await self._mismatch(file, sha256)
        disputed = ""
        if problem:
            disputed = f"{problem}; all in it is right, and samples equal the exchange's records"
            await self._inspect(series, file, entry, problem)
        else:
            self._require_zip(file, entry)
        note = Note(path=file.path, size=size, published=file.published, sha256=sha256, disputed=disputed)
        self._cache.keep(entry, note)
        return VerifiedFile(file=file, sha256=sha256, disputed=disputed)

    async def _fetch(self, file: ArchiveFile, entry: Entry) -> tuple[str, int]:
        """Download the file into its part; its SHA-256 and its size."""
        lane, part = Lane("archive"), Part(entry, file)
        try:
            with self._cache.errors():
                await lane.run(part.open)
                await self._transport.download(file.path, part, lane.run)
                return await lane.run(part.finish), part.size
        except Gone as error:
            entry.remove()
            raise FileRefused(f"{file.path}: the archive does not have it: {error}") from error
        except Elsewhere as error:
            entry.remove()
            raise FileRefused(str(error)) from error
        finally:
            await lane.close(part.close)

    def _require_zip(self, file: ArchiveFile, entry: Entry) -> None:
        """Raises FileRefused where the part is no zip as it should be."""
        try:
            with self._cache.errors(), entry.part.open("rb") as opened:
                ZipMember(opened, _member(file))
        except FileRefused as error:
            raise FileRefused(f"{file.path}: {error}") from error

    async def _mismatch(self, file: ArchiveFile, sha256: str) -> str:
        """Why the file does not meet its published checksum; empty: it does."""
        name = file.path.rpartition("/")[2]
        try:
            text = await self._transport.text(file.path + CHECKSUM)
        except Gone:
            return f"{name} has no published checksum"
        except Elsewhere as error:
            return str(error)
        match = _CHECKSUM_LINE.fullmatch(text)
        if match is None or match[2] != name.encode():
            return f"the published checksum of {name} cannot be read: {text[:100]!r}"
        published = match[1].decode().lower()
        return "" if published == sha256 else f"{name} has the SHA-256 {sha256}, published is {published}"

    async def _inspect(self, series: Series, file: ArchiveFile, entry: Entry, problem: str) -> None:
        """Compare a file whose checksum is wrong with itself and with the exchange. Raises FileRefused."""
        kind = kind_of(series)
        inspection, lane = Inspection(kind, series), Lane("archive")
        with self._cache.errors():
            opened = entry.part.open("rb")
        try:
            middle = ZipMember(opened, _member(file)).size // self._block // 2
            pages = read_pages(opened, _member(file), kind, series, file.span, 0, block=self._block)
            number = 0
            while (page := await lane.run(_next, pages)) is not None:
                inspection.add(page, sample=number in (0, middle))
                number += 1
            inspection.end()
            if self._history is None:
                raise FileRefused("there is no exchange to compare its records with")
            await inspection.compare(self._history, series)
        except FileRefused as error:
            raise FileRefused(f"{file.path}: {problem}, twice; {error}") from error
        finally:
            await lane.close(opened.close)


def _member(file: ArchiveFile) -> str:
    """The name of the CSV file in the zip."""
    return file.path.rpartition("/")[2].removesuffix(".zip") + ".csv"


def _next(pages: Iterator[Page]) -> Page | None:
    return next(pages, None)
