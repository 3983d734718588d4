"""An archive on a host, and what a test asks of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest_asyncio

from streamforge_utils.adapters.binance.binance_archive import BinanceArchive
from streamforge_utils.model.kinds.paging import ByTime, Page, Question
from streamforge_utils.model.series import Series
from streamforge_utils.ports.archive import ArchiveFile, VerifiedFile
from tests.doubles.archivefiles import day
from tests.doubles.archivehost import ArchiveHost, archive_host

TRADES = Series("BTCUSDT", "trades")
HOURS = Series("BTCUSDT", "candles", "1h")
DAY = "2024-08-01"
IDS = range(1000, 3000)


@pytest_asyncio.fixture
async def host() -> AsyncIterator[ArchiveHost]:
    async with archive_host() as made:
        yield made


async def listed(archive: BinanceArchive, series: Series = TRADES, date: str = DAY) -> ArchiveFile:
    (file,) = [one for one in await archive.files(series, day(date)) if one.span == day(date)]
    return file


async def verified(archive: BinanceArchive, series: Series = TRADES, date: str = DAY) -> VerifiedFile:
    return await archive.verify(series, await listed(archive, series, date))


async def records(archive: BinanceArchive, file: VerifiedFile, series: Series = TRADES) -> list[Page]:
    return [page async for page in archive.records(series, file)]


def ids_of(pages: Sequence[Page]) -> list[int]:
    return [position for page in pages for position in page.positions]


def names(folder: Path, form: str) -> list[str]:
    """The names of files in a folder, without what tells archives apart."""
    return sorted(path.name.partition("-")[2] for path in folder.glob(form))


class Recorded:
    """The exchange, with the records of an archive; lacking: ids of which it has none."""

    def __init__(self, pages: Sequence[Page], lacking: Sequence[int] = ()) -> None:
        self.asked: list[Question] = []
        self._records = [
            record
            for page in pages
            for record in zip(page.positions, page.times, page.keys, page.values, strict=True)
            if record[0] not in lacking
        ]

    async def page(self, series: Series, question: Question) -> Page:
        self.asked.append(question)
        if isinstance(question, ByTime):
            found = [record for record in self._records if record[1] in question.span]
        else:
            found = [record for record in self._records if record[0] >= question.first_id][: question.limit]
        values = [value.replace(b'"_version":', b'"_version":1') for *_, value in found]
        return Page([r[0] for r in found], [r[1] for r in found], [r[2] for r in found], values)
