"""The archive's files: fetched once, resumed, kept within a limit, and refused where they cannot be trusted."""

from __future__ import annotations

import asyncio
import re
import resource
import zipfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from streamforge_utils.model.errors import ConfigError, RetryableError
from streamforge_utils.model.kinds.candles import KIND
from streamforge_utils.model.kinds.paging import ById
from streamforge_utils.model.kinds.registry import kind_of
from streamforge_utils.model.series import Series
from streamforge_utils.ports.archive import FileRefused
from tests.adapters.binance.archivebench import (
    DAY,
    HOURS,
    IDS,
    TRADES,
    Recorded,
    ids_of,
    listed,
    names,
    records,
    verified,
)
from tests.adapters.binance.archivebench import host as host
from tests.doubles.archivefiles import archive_of, day, path_of, put_candles, put_trades
from tests.doubles.archivehost import PUBLISHED, ArchiveHost, breaks_off, status
from tests.doubles.clock import FakeClock
from tests.limits import LIMIT_S
from tests.places import market_data

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
    with zipfile.ZipFile(recorded) as zipped:
        lines = zipped.read(zipped.namelist()[0]).decode().splitlines()
    rows = [line.split(",") for line in lines if line[0].isdigit()]
    columns = KIND.columns[2:]
    found = [msgspec.json.decode(body) for _, _, body in documents]
    assert [[one[name] for name in columns] for one in found] == [[float(cell) for cell in row[:11]] for row in rows]
    await archive.close()


async def test_a_file_whose_header_names_other_columns_is_refused(host: ArchiveHost, tmp_path: Path) -> None:
    """Two columns that have changed their places pass for each other: both are decimal numbers."""
    path = put_trades(host, TRADES, DAY, IDS, header="id,qty,price,quote_qty,time,is_buyer_maker")
    archive = archive_of(host, tmp_path)
    with pytest.raises(FileRefused, match=f"{path}.*header 'id,qty,price,.*' names other columns than id, price, "):
        await records(archive, await verified(archive))
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


@pytest.mark.parametrize("change", ["its content", "its checksum"])
async def test_a_file_that_is_another_one_when_it_is_fetched_again_is_not_read_by_its_old_verdict(
    host: ArchiveHost, tmp_path: Path, change: str
) -> None:
    put_trades(host, TRADES, DAY, IDS)
    trusted = archive_of(host, tmp_path / "trusted")
    pages = await records(trusted, await verified(trusted))
    archive = archive_of(host, tmp_path / "own", history=Recorded(pages))
    found = await verified(archive)
    (kept,) = (tmp_path / "own").rglob("*.zip")
    kept.unlink()
    if change == "its content":
        put_trades(host, TRADES, DAY, IDS[:-1])
    else:
        put_trades(host, TRADES, DAY, IDS, checksum="0" * 64)
    with pytest.raises(RetryableError, match="was replaced while it was read"):
        await records(archive, found)
    await trusted.close()
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
    put("")
    right = await verified(archive, series)
    assert (right.cached, right.disputed) == (True, ""), "the archive has put its checksum right"
    await trusted.close()
    await archive.close()


@pytest.mark.parametrize(
    ("without", "lacking", "asked", "reason"),
    [
        ([], range(2800, 2900), True, r"id 28\d\d differs: the exchange has none, the file has {.*}"),
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
