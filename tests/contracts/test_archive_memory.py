from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from streamforge_utils.model.kinds.candles import Interval
from streamforge_utils.model.kinds.paging import Page
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from tests.contracts.archive import ArchiveContract, KnownFiles
from tests.doubles.candles import candle, page_of
from tests.doubles.memoryarchive import MemoryArchive, published

SERIES = Series("BTCUSDT", "candles", "1h")


class TestMemoryArchive(ArchiveContract):
    def known_files(self) -> AbstractAsyncContextManager[KnownFiles]:
        return _known()


@asynccontextmanager
async def _known() -> AsyncIterator[KnownFiles]:
    days = [f"2024-09-{day:02}" for day in range(1, 31) if day != 20]
    files = [published(text) for text in ("2024-08", "2024-09", *days)]
    archive = MemoryArchive([*files, published("2024-09-01", symbol="ETHUSDT")], _content)
    archive.refused["BTCUSDT-2024-09-03.zip"] = "its checksum is another one"
    archive.lying.add("BTCUSDT-2024-09-04.zip")
    yield KnownFiles(
        archive=archive,
        series=SERIES,
        months=("2024-08", "2024-09"),
        day="2024-09-02",
        lacking="2024-09-20",
        bad="2024-09-03",
        lying="2024-09-04",
        positions=list(Interval.H1.rule.times(*_ends("2024-09-02"))),
        symbols=["BTCUSDT", "ETHUSDT"],
    )


def _content(series: Series, span: TimeRange) -> Page:
    times = Interval(series.interval).rule.times(span.start_ms, span.end_ms)
    return page_of([candle(time, interval=Interval(series.interval), symbol=series.symbol) for time in times])


def _ends(day: str) -> tuple[int, int]:
    span = parse_time_range(day)
    return span.start_ms, span.end_ms
