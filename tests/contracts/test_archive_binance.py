from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from streamforge_utils.model.series import Series
from tests.adapters.binance.archivebench import Recorded, records, verified
from tests.contracts.archive import ArchiveContract, KnownFiles
from tests.doubles.archivefiles import archive_of, path_of, put_candles
from tests.doubles.archivehost import archive_host

SERIES = Series("BTCUSDT", "candles", "1h")


class TestBinanceArchiveOnAHost(ArchiveContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self._path = tmp_path

    def known_files(self) -> AbstractAsyncContextManager[KnownFiles]:
        return _known(self._path)


@asynccontextmanager
async def _known(folder: Path) -> AsyncIterator[KnownFiles]:
    async with archive_host() as host:
        host.page = 7  # keys of a listing's page: several are needed
        positions: list[int] = []
        for date in ("2024-08", "2024-09", *(f"2024-09-{day:02}" for day in range(1, 31) if day != 20)):
            opens = put_candles(host, SERIES, date, checksum="0" * 64 if date == "2024-09-03" else "")
            if date == "2024-09-02":
                positions = opens
        put_candles(host, Series("ETHUSDT", "candles", "1h"), "2024-09-01")
        host.put(path_of(Series("LUNAUSDT", "candles", "1d"), "2022-05"), b"?")
        right = archive_of(host, folder / "right")
        days = [await verified(right, SERIES, date) for date in ("2024-09-02", "2024-09-04")]
        pages = [page for one in days for page in await records(right, one, SERIES)]
        await right.close()
        archive = archive_of(host, folder, history=Recorded(pages, [days[1].file.span.start_ms]))
        yield KnownFiles(
            archive=archive,
            series=SERIES,
            months=("2024-08", "2024-09"),
            day="2024-09-02",
            lacking="2024-09-20",
            bad="2024-09-03",
            lying="2024-09-04",
            positions=positions,
            symbols=["BTCUSDT", "ETHUSDT", "LUNAUSDT"],
        )
