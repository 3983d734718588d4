"""The archive's files: fetched once, resumed, kept within a limit, and refused where they cannot be trusted."""

from __future__ import annotations

import asyncio
import re
import resource
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from aiohttp import web

from streamforge_utils.adapters.binance.binance_archive import BinanceArchive
from streamforge_utils.model.errors import ConfigError, PermanentError, RetryableError
from streamforge_utils.model.kinds.paging import ById, ByTime, Page, Question
from streamforge_utils.model.kinds.registry import kind_of
from streamforge_utils.model.series import Series
from streamforge_utils.ports.archive import ArchiveFile, FileRefused, VerifiedFile
from tests.doubles.archivefiles import archive_of, day, path_of, put_candles, put_rows, put_trades, trade
from tests.doubles.archivehost import PUBLISHED, ArchiveHost, archive_host, breaks_off, status, zipped
from tests.doubles.clock import FakeClock
from tests.doubles.observer import RecordingObserver
from tests.limits import LIMIT_S
from tests.places import market_data

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


# What is recorded


RECORDED = [
    ("spot_BTCUSDT-1m-2020-01-01.zip", "BTCUSDT", "1m", "2020-01-01", 1440),
    ("spot_BTCUSDT-1m-2020-01-02.zip", "BTCUSDT", "1m", "2020-01-02", 1440),
    ("spot_BTCUSDT-1h-2022-09-07.zip", "BTCUSDT", "1h", "2022-09-07", 24),
    ("spot_ETHUSDT-1m-2022-08-14.zip", "ETHUSDT", "1m", "2022-08-14", 1440),
    # A header row, as spot's files never had one so far.
    ("usdm-futures_BTCUSDT-1m-2022-09-05_header.zip", "BTCUSDT", "1m", "2022-09-05", 1440),
]


@pytest.mark.parametrize(("name", "symbol", "interval", "date", "count"), RECORDED)
async def test_a_recorded_file_is_read(
    host: ArchiveHost, tmp_path: Path, name: str, symbol: str, interval: str, date: str, count: int
) -> None:
    series = Series(symbol, "candles", interval)
    recorded = market_data("klines-vision-csv", name)
    path = path_of(series, date)
    host.put(path, recorded.read_bytes())
    checksum = recorded.with_name(name + ".CHECKSUM")
    if checksum.exists():
        host.files[f"{path}.CHECKSUM"] = checksum.read_bytes()
    archive = archive_of(host, tmp_path)
    pages = await records(archive, await verified(archive, series, date), series)
    step = 60_000 if interval == "1m" else 3_600_000
    assert ids_of(pages) == list(range(day(date).start_ms, day(date).end_ms, step))
    assert len(ids_of(pages)) == count
    documents = [kind_of(series).document(k, v) for p in pages for k, v in zip(p.keys, p.values, strict=True)]
    assert {version for _, version, _ in documents} == {round(PUBLISHED.timestamp() * 1000)}
    await archive.close()


# Downloads


async def test_a_download_that_breaks_off_goes_on_where_it_was(host: ArchiveHost, tmp_path: Path) -> None:
    path = put_trades(host, TRADES, DAY, IDS)
    size = len(host.files[path])
    host.expect(path, breaks_off(host, path, tmp_path, 3000), breaks_off(host, path, tmp_path, 2000), status(503))
    archive = archive_of(host, tmp_path, clock=FakeClock())
    assert ids_of(await records(archive, await verified(archive))) == list(IDS)
    assert host.ranges == ["bytes=3000-", "bytes=5000-", "bytes=5000-"]
    assert size > 5000
    await archive.close()


async def test_a_killed_download_is_resumed_by_the_next_worker_and_dropped_where_the_file_was_replaced(
    host: ArchiveHost, tmp_path: Path
) -> None:
    path = put_trades(host, TRADES, DAY, IDS)
    reached = asyncio.Event()

    for replaced in (False, True):
        host.expect(path, breaks_off(host, path, tmp_path, 4000, reached=reached))
        archive = archive_of(host, tmp_path)
        killed = asyncio.create_task(verified(archive))
        async with asyncio.timeout(LIMIT_S):
            await reached.wait()
        killed.cancel()
        await asyncio.gather(killed, return_exceptions=True)
        await archive.close()
        reached.clear()
        if replaced:
            put_trades(host, TRADES, DAY, range(1000, 3500))
            host.published[path] = datetime(2024, 10, 1, tzinfo=UTC)
        following = archive_of(host, tmp_path)
        host.ranges.clear()
        found = ids_of(await records(following, await verified(following)))
        assert found == list(range(1000, 3500) if replaced else IDS)
        assert host.ranges == ([] if replaced else ["bytes=4000-"])
        await following.close()
        host.published[path] = datetime(2024, 9, 20, tzinfo=UTC)  # the second round begins anew


async def test_a_file_replaced_between_a_part_and_its_rest_is_begun_again(host: ArchiveHost, tmp_path: Path) -> None:
    path = put_trades(host, TRADES, DAY, IDS)

    async def replaced(request: web.Request) -> web.StreamResponse:
        put_trades(host, TRADES, DAY, range(5000, 7000))
        return host.answer(request, host.files[path], host.tag(path))

    host.expect(path, breaks_off(host, path, tmp_path, 3000), replaced)
    archive = archive_of(host, tmp_path, clock=FakeClock())
    assert ids_of(await records(archive, await verified(archive))) == list(range(5000, 7000))
    await archive.close()


async def test_a_file_with_another_version_is_fetched_anew_and_the_same_one_is_not(
    host: ArchiveHost, tmp_path: Path
) -> None:
    path = put_trades(host, TRADES, DAY, IDS)
    archive = archive_of(host, tmp_path)
    first = await verified(archive)
    assert (await verified(archive)).cached
    assert host.asked[path] == 1
    put_trades(host, TRADES, DAY, range(1000, 3500))
    host.published[path] = datetime(2024, 10, 1, tzinfo=UTC)
    again = await verified(archive)
    assert (again.cached, again.sha256 != first.sha256, host.asked[path]) == (False, True, 2)
    assert len(ids_of(await records(archive, again))) == 2500
    await archive.close()


async def test_two_workers_of_a_machine_fetch_a_file_once(host: ArchiveHost, tmp_path: Path) -> None:
    path = put_trades(host, TRADES, DAY, IDS)
    workers = [archive_of(host, tmp_path) for _ in range(4)]
    found = await asyncio.gather(*(verified(archive) for archive in workers))
    assert sorted(file.cached for file in found) == [False, True, True, True]
    assert host.asked[path] == 1
    for archive in workers:
        await archive.close()


# The cache


async def test_files_that_were_not_used_for_longest_make_room(host: ArchiveHost, tmp_path: Path) -> None:
    dates = [f"2024-08-0{number}" for number in (1, 2, 3)]
    paths = [put_trades(host, TRADES, date, IDS) for date in dates]
    size = len(host.files[paths[0]])
    archive = archive_of(host, tmp_path, limit=int(2.5 * size))
    first, second = [await verified(archive, date=date) for date in dates[:2]]
    opened = archive.records(TRADES, second)
    begun = await anext(opened)
    assert (await verified(archive, date=dates[0])).cached
    await verified(archive, date=dates[2])
    assert names(tmp_path, "*.zip") == ["BTCUSDT-trades-2024-08-01.zip", "BTCUSDT-trades-2024-08-03.zip"]
    # Who reads it goes on; who comes later has it fetched again.
    assert ids_of([begun, *[page async for page in opened]]) == list(IDS)
    assert ids_of(await records(archive, second)) == list(IDS)
    assert host.asked[paths[1]] == 2
    assert first.sha256 != second.sha256
    await archive.close()


async def test_a_file_larger_than_the_cache_is_refused_before_it_is_fetched(host: ArchiveHost, tmp_path: Path) -> None:
    path = put_trades(host, TRADES, DAY, IDS)
    archive = archive_of(host, tmp_path, limit=1000)
    with pytest.raises(FileRefused, match="the cache may hold 1000: raise STREAMFORGE_ARCHIVE_CACHE_BYTES"):
        await verified(archive)
    assert host.asked[path] == 0
    await archive.close()


async def test_a_full_disk_is_told_with_the_folder_and_what_to_do(host: ArchiveHost, tmp_path: Path) -> None:
    path = put_trades(host, TRADES, DAY, IDS)
    full = archive_of(host, tmp_path, free=lambda folder: 100)
    with pytest.raises(RetryableError, match=f"{re.escape(str(tmp_path))} is full .*STREAMFORGE_ARCHIVE_CACHE_DIR"):
        await verified(full)
    assert host.asked[path] == 0
    # In the middle of a download: no file may be longer.
    archive = archive_of(host, tmp_path)
    file = await listed(archive)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
    try:
        with pytest.raises(RetryableError, match=r"is full \(File too large\): free some room there"):
            await archive.verify(TRADES, file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert ids_of(await records(archive, await verified(archive))) == list(IDS)
    await archive.close()
    await full.close()


async def test_a_folder_that_may_not_be_used_is_named(host: ArchiveHost, tmp_path: Path) -> None:
    put_trades(host, TRADES, DAY, IDS)
    (tmp_path / "file").write_text("")
    archive = archive_of(host, tmp_path / "file")
    with pytest.raises((ConfigError, RetryableError), match="STREAMFORGE_ARCHIVE_CACHE_DIR"):
        await verified(archive)
    await archive.close()


# Checksums


async def test_a_checksum_that_is_right_the_second_time_is_right(host: ArchiveHost, tmp_path: Path) -> None:
    path = put_trades(host, TRADES, DAY, IDS)

    async def damaged(request: web.Request) -> web.StreamResponse:
        content = bytearray(host.files[path])
        content[500] ^= 0xFF
        return host.answer(request, bytes(content), host.tag(path))

    host.expect(path, damaged)
    archive = archive_of(host, tmp_path)
    found = await verified(archive)
    assert (found.disputed, host.asked[path], host.ranges) == ("", 2, [])
    assert ids_of(await records(archive, found)) == list(IDS)
    await archive.close()


@pytest.mark.parametrize("series", [TRADES, HOURS], ids=["trades", "candles"])
@pytest.mark.parametrize("checksum", ["0" * 64, None, "no checksum at all"])
async def test_a_file_without_its_checksum_is_taken_in_if_the_exchange_agrees(
    host: ArchiveHost, tmp_path: Path, series: Series, checksum: str | None
) -> None:
    def put(checksum: str | None) -> None:
        if series is TRADES:
            put_trades(host, series, DAY, IDS, checksum=checksum)
        else:
            put_candles(host, series, DAY, checksum=checksum)

    put("")
    trusted = archive_of(host, tmp_path / "trusted")
    pages = await records(trusted, await verified(trusted, series), series)
    put(checksum)
    exchange = Recorded(pages)
    archive = archive_of(host, tmp_path / "disputed", history=exchange, block=16_000)
    found = await verified(archive, series)
    assert "samples equal the exchange's records" in found.disputed
    assert ("has no published checksum" in found.disputed) == (checksum is None)
    assert ids_of(await records(archive, found, series)) == ids_of(pages)
    assert exchange.asked
    if series is TRADES:
        asked = [question.first_id for question in exchange.asked if isinstance(question, ById)]
        assert len(asked) == 3  # beginning, middle, end
        assert (asked[0], asked[-1] > 2500) == (1000, True)
    again = await verified(archive, series)
    assert (again.cached, again.disputed) == (True, found.disputed)
    await trusted.close()
    await archive.close()


@pytest.mark.parametrize(
    ("without", "lacking", "asked", "reason"),
    [
        ([], range(2800, 2900), True, r"trade_id 28\d\d differs: the file has {.*}, the exchange none"),
        ([1200], (), True, "trade_id 1201 follows 1199, and 1200 should"),
        ([], (), False, "there is no exchange to compare its records with"),
    ],
    ids=["differs", "lacks an id", "nobody to ask"],
)
async def test_a_file_with_a_wrong_checksum_that_is_not_right_is_put_away(
    host: ArchiveHost, tmp_path: Path, without: list[int], lacking: Sequence[int], asked: bool, reason: str
) -> None:
    path = put_trades(host, TRADES, DAY, IDS)
    trusted = archive_of(host, tmp_path / "trusted")
    pages = await records(trusted, await verified(trusted))
    put_trades(host, TRADES, DAY, IDS, checksum="0" * 64, without=without)
    host.asked.clear()
    archive = archive_of(host, tmp_path / "own", history=Recorded(pages, lacking) if asked else None)
    with pytest.raises(FileRefused, match=f"{path}: .*published is 0{{64}}, twice; {reason}") as refused:
        await verified(archive)
    assert host.asked[path] == 2
    (kept,) = (tmp_path / "own" / "quarantine").glob("*.zip")
    assert kept.with_suffix(".txt").read_text().strip() == str(refused.value)
    assert not names(tmp_path / "own", "*.zip")
    await trusted.close()
    await archive.close()


# Contents


BAD_ROWS = {
    "another day": (
        [trade(2, day("2024-08-02").start_ms)],
        "it has a record of 2024-08-02, which is not in 2024-08-01",
    ),
    "ids that go back": ([trade(2, day(DAY).start_ms), trade(1, day(DAY).start_ms)], "1 follows 2"),
    "other columns": ([b"1,2,3\n"], "it has 3 columns, not 7"),
    "seconds": ([b"1,1.5,1.5,1.5,1722470400,True,True\n"], "is neither in milliseconds"),
    "no quantity": ([b"1,1.5,0.00,1.5,1722470400000,True,True\n"], "its quantity '0.00' is no decimal number above 0"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
@pytest.mark.parametrize("block", [100, 256 * 1024])
async def test_rows_that_are_wrong_are_refused_whatever_block_they_are_in(
    host: ArchiveHost, tmp_path: Path, name: str, block: int
) -> None:
    rows, reason = BAD_ROWS[name]
    path = put_rows(host, TRADES, DAY, trade(0, day(DAY).start_ms) + b"".join(rows))
    archive = archive_of(host, tmp_path, block=block)
    found = await verified(archive)
    with pytest.raises(FileRefused, match=f"{path}: .*{re.escape(reason)}"):
        await records(archive, found)
    assert not names(tmp_path, "*.zip")  # it is fetched again when it is asked for again
    assert len(names(tmp_path / "quarantine", "*.zip")) == 1
    await archive.close()


async def test_aggregates_that_do_not_meet_at_the_border_of_two_blocks_are_refused(
    host: ArchiveHost, tmp_path: Path
) -> None:
    series = Series("BTCUSDT", "agg_trades")
    time_ms = day(DAY).start_ms
    rows = b"".join(
        b"%d,1.5,1.5,%d,%d,%d,True,True\n" % (n, 2 * n + (n > 30), 2 * n + 1 + (n > 30), time_ms) for n in range(60)
    )
    put_rows(host, series, DAY, rows)
    for block in (1, 80, 256 * 1024):
        archive = archive_of(host, tmp_path / str(block), block=block)
        found = await verified(archive, series)
        with pytest.raises(FileRefused, match="aggregate 30 ends with trade 61, and 31 begins with 63"):
            await records(archive, found, series)
        await archive.close()


async def test_a_zip_that_is_none_is_refused_though_its_checksum_is_right(host: ArchiveHost, tmp_path: Path) -> None:
    path = path_of(TRADES, DAY)
    for content in (
        b"<html>",
        zipped("../evil.csv", b"1\n"),
        zipped("BTCUSDT-trades-2024-08-01.csv", b"1" * 10_000_000),
    ):
        host.put(path, content)
        archive = archive_of(host, tmp_path)
        with pytest.raises(FileRefused, match=path):
            await verified(archive)
        await archive.close()


# The host


async def test_a_file_that_is_gone_is_refused_at_once(host: ArchiveHost, tmp_path: Path) -> None:
    path = put_trades(host, TRADES, DAY, IDS)
    archive = archive_of(host, tmp_path, clock=FakeClock())
    file = await listed(archive)
    del host.files[path]
    with pytest.raises(FileRefused, match=f"the archive does not have it: .*{path} is not there"):
        await archive.verify(TRADES, file)
    assert host.asked[path] == 1
    assert not names(tmp_path, "*.part")
    await archive.close()


@pytest.mark.parametrize("code", [403, 429, 500, 503])
async def test_a_host_that_refuses_is_asked_again_for_a_while(host: ArchiveHost, tmp_path: Path, code: int) -> None:
    path = put_trades(host, TRADES, DAY, IDS)
    clock, observer = FakeClock(), RecordingObserver()
    host.expect("?", status(code), status(code))
    host.expect(path, status(code, **{"Retry-After": "7"}))
    archive = archive_of(host, tmp_path, clock=clock, observer=observer)
    assert ids_of(await records(archive, await verified(archive))) == list(IDS)
    assert max(clock.slept) == 7.0
    assert observer.counts["exchange_retries_total{endpoint=archive-listing}"] == 2
    assert observer.waits[-1] == (None, None)
    host.expect("?", *[status(code)] * 1000)
    with pytest.raises(RetryableError, match=f"HTTP {code}"):
        await archive.files(TRADES, day(DAY))
    assert len(host.script["?"]) > 900
    await archive.close()


async def test_a_redirection_is_followed_inside_the_host_and_nowhere_else(host: ArchiveHost, tmp_path: Path) -> None:
    path = put_trades(host, TRADES, DAY, IDS)
    host.files["moved.zip"] = host.files[path]
    host.expect(path, status(302, Location="/moved.zip"), status(302, Location="http://example.invalid/x.zip"))
    archive = archive_of(host, tmp_path)
    assert ids_of(await records(archive, await verified(archive))) == list(IDS)
    host.published[path] = datetime(2024, 10, 1, tzinfo=UTC)
    with pytest.raises(FileRefused, match=r"to another host, example\.invalid: not followed"):
        await verified(archive)
    await archive.close()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"not xml", "it is no XML"),
        (b"<html/>", "it is <html>, not <ListBucketResult>"),
        (b"<!DOCTYPE x [<!ENTITY a 'b'>]><ListBucketResult/>", "a document type"),
        (b"<ListBucketResult><Contents><Key>k</Key></Contents></ListBucketResult>", "LastModified"),
        (b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>", "does not say where it goes on"),
        (b"<a>" * 2_000_000, "larger than"),
    ],
)
async def test_a_listing_that_cannot_be_read_is_told(
    host: ArchiveHost, tmp_path: Path, body: bytes, reason: str
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body)

    host.expect("?", *[answer] * 1000)
    archive = archive_of(host, tmp_path, clock=FakeClock(), patience_s=1.0)
    with pytest.raises(RetryableError, match=reason):
        await archive.files(TRADES, day(DAY))
    await archive.close()


@pytest.mark.parametrize(
    ("step", "error", "reason"), [(1, PermanentError, "lists more than 200000"), (0, RetryableError, "the same page")]
)
async def test_a_listing_without_end_is_given_up(
    host: ArchiveHost, tmp_path: Path, step: int, error: type[Exception], reason: str
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        token = int(request.query.get("continuation-token", 0)) + step
        return web.Response(
            text="<ListBucketResult><IsTruncated>true</IsTruncated>"
            f"<NextContinuationToken>{token}</NextContinuationToken></ListBucketResult>"
        )

    host.expect("?", *[answer] * 1000)
    archive = archive_of(host, tmp_path)
    with pytest.raises(error, match=reason):
        await archive.files(TRADES, day(DAY))
    await archive.close()


@pytest.mark.parametrize("url", ["ftp://x", "http://user@host", "http://host/?q=1", "nothing"])
def test_a_url_that_is_none_is_refused(url: str, tmp_path: Path) -> None:
    host = ArchiveHost()
    host.url = url
    with pytest.raises(ConfigError, match="STREAMFORGE_ARCHIVE_URL"):
        archive_of(host, tmp_path)


async def test_versions_are_never_of_the_future(host: ArchiveHost, tmp_path: Path) -> None:
    path = put_trades(host, TRADES, DAY, range(3))
    host.published[path] = datetime(2999, 1, 1, tzinfo=UTC)
    clock = FakeClock()
    archive = archive_of(host, tmp_path, clock=clock)
    (page,) = await records(archive, await verified(archive))
    assert {msgspec.json.decode(value)["_version"] for value in page.values} == {clock.now_ms()}
    await archive.close()
