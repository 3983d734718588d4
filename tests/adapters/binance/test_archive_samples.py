"""A few records of a file are compared with the exchange's: what differs there refuses the file, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from streamforge_utils.model.errors import BannedError, RetryableError
from streamforge_utils.model.kinds.paging import ById, Page, Question
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import parse_time_range
from streamforge_utils.ports.archive import FileDiffers, FileRefused, Place
from tests.adapters.binance.archivebench import DAY, HOURS, IDS, TRADES, Recorded, names, records, verified
from tests.adapters.binance.archivebench import host as host
from tests.doubles.archivefiles import archive_of, kline, path_of, put_candles, put_rows, put_trades, trade
from tests.doubles.archivehost import ArchiveHost

ENDS = [Place.FIRST, Place.LAST]


async def exchange_of(
    host: ArchiveHost, folder: Path, series: Series, *dates: str, without: Sequence[int] = ()
) -> Recorded:
    """An exchange that has the records of the files that are published."""
    archive = archive_of(host, folder / "right")
    pages = [page for one in dates for page in await records(archive, await verified(archive, series, one), series)]
    await archive.close()
    return Recorded(pages, without)


@pytest.mark.parametrize(
    ("altered", "noticed"), [(1000, True), (1499, True), (1500, False), (2499, False), (2500, True), (2999, True)]
)
async def test_a_trade_that_is_another_one_is_noticed_where_it_is_sampled(
    host: ArchiveHost, tmp_path: Path, altered: int, noticed: bool
) -> None:
    put_trades(host, TRADES, DAY, IDS)
    exchange = await exchange_of(host, tmp_path, TRADES, DAY)
    start_ms, step = parse_time_range(DAY).start_ms, 86_400_000 // len(IDS)
    rows = [trade(one, start_ms + at * step) for at, one in enumerate(IDS)]
    rows[altered - 1000] = rows[altered - 1000].replace(b",0.25,", b",0.26,")
    path = put_rows(host, TRADES, DAY, b"".join(rows))
    archive = archive_of(host, tmp_path, history=exchange, block=32_000)
    file = await verified(archive)
    if noticed:
        with pytest.raises(FileDiffers) as refused:
            await archive.compare(TRADES, file, ENDS)
        told = f'archive-differs: id {altered} differs: quantity is "0.26" in the file and "0.25" at the exchange'
        assert str(refused.value) == f"{path}: {told}"
        assert (names(tmp_path, "*.zip"), len(names(tmp_path / "quarantine", "*.zip"))) == ([], 1)
    else:
        assert await archive.compare(TRADES, file, ENDS) == ""
    await archive.close()


async def test_what_is_drawn_inside_follows_from_the_file_and_is_compared(host: ArchiveHost, tmp_path: Path) -> None:
    put_trades(host, TRADES, DAY, IDS)
    exchange = await exchange_of(host, tmp_path, TRADES, DAY)
    archive = archive_of(host, tmp_path, history=exchange, block=16_000)
    for _ in range(2):
        assert await archive.compare(TRADES, await verified(archive), [Place.INSIDE]) == ""
    (asked,) = exchange.asked
    assert isinstance(asked, ById)
    assert asked.first_id in IDS
    lying = await exchange_of(host, tmp_path, TRADES, DAY, without=[asked.first_id + 1])
    other = archive_of(host, tmp_path, history=lying, block=16_000)
    with pytest.raises(FileDiffers, match=f"id {asked.first_id + 1} differs: the exchange has none, the file has"):
        await other.compare(TRADES, await verified(other), [Place.INSIDE])
    assert lying.asked == [asked, asked], "once more, before it counts"
    await archive.close()
    await other.close()


@pytest.mark.parametrize("series", [TRADES, HOURS], ids=["trades", "candles"])
async def test_where_two_files_meet_one_request_is_for_both(host: ArchiveHost, tmp_path: Path, series: Series) -> None:
    dates = [DAY, "2024-08-02"]
    for number, date in enumerate(dates):
        if series is TRADES:
            put_trades(host, series, date, range(1000 + 2000 * number, 3000 + 2000 * number))
        else:
            put_candles(host, series, date)
    exchange = await exchange_of(host, tmp_path, series, *dates)
    archive = archive_of(host, tmp_path, history=exchange)
    before, after = [await verified(archive, series, date) for date in dates]
    both = archive.compare(series, before, [Place.LAST]), archive.compare(series, after, [Place.FIRST])
    assert [*await asyncio.gather(*both)] == ["", ""]
    assert len(exchange.asked) == 1
    start_ms = parse_time_range(dates[1]).start_ms
    if series is HOURS:
        rows = [kline(start_ms + number * 3_600_000) for number in range(24)]
        put_rows(host, series, dates[1], b"".join([*rows[:23], rows[23].replace(b",42,", b",43,")]))
        with pytest.raises(FileDiffers, match="02T23:00Z differs: number_of_trades is 43 in the file and 42 at the"):
            await archive.compare(series, await verified(archive, series, dates[1]), [Place.FIRST])
    await archive.close()


async def test_the_end_of_a_file_that_was_cut_is_compared_where_it_is(host: ArchiveHost, tmp_path: Path) -> None:
    start_ms, minutes = parse_time_range(DAY).start_ms, Series("BTCUSDT", "candles", "1m")
    rows = [kline(start_ms + number * 60_000, 60_000) for number in range(1440)]
    put_rows(host, minutes, DAY, b"".join(rows))
    exchange = await exchange_of(host, tmp_path, minutes, DAY)
    put_rows(host, minutes, DAY, b"".join([*rows[:599], rows[599].replace(b",42,", b",43,")]))
    archive = archive_of(host, tmp_path, history=exchange)
    with pytest.raises(FileDiffers, match="01T09:59Z differs: number_of_trades is 43 in the file and 42 at the"):
        await archive.compare(minutes, await verified(archive, minutes), [Place.LAST])
    await archive.close()


class _Silent:
    def __init__(self, error: Exception) -> None:
        self.error, self.asked = error, 0

    async def page(self, series: Series, question: Question) -> Page:
        self.asked += 1
        raise self.error


async def test_without_an_answer_nothing_is_compared_and_the_reason_is_told(host: ArchiveHost, tmp_path: Path) -> None:
    put_trades(host, TRADES, DAY, IDS)
    floor = await exchange_of(host, tmp_path, TRADES, DAY, without=range(1000, 2700))
    below, nobody = archive_of(host, tmp_path, history=floor), archive_of(host, tmp_path)
    file = await verified(below)
    assert await below.compare(TRADES, file, [Place.FIRST]) == "the exchange gives no record before id 2700"
    assert await below.compare(TRADES, file, [Place.LAST]) == "", "what there is, is compared"
    assert await nobody.compare(TRADES, file, ENDS) == "there is no exchange to compare with"
    for error in (RetryableError("HTTP 503"), BannedError("banned", until_ms=1, retry_after=1.0)):
        silent = _Silent(error)
        archive = archive_of(host, tmp_path, history=silent)
        for _ in range(2):
            assert await archive.compare(TRADES, file, ENDS) == f"the exchange does not answer: {error}"
        assert silent.asked == 1
        await archive.close()
    put_rows(host, TRADES, DAY, b"1,2\n")
    with pytest.raises(FileRefused, match=f"{path_of(TRADES, DAY)}: row '1,2': it has 2 columns"):
        await below.compare(TRADES, await verified(below), ENDS)
    await below.close()
    await nobody.close()
