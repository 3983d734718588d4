"""What a file of the archive may not hold, and how a host is met that does not serve."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from streamforge_utils.model.errors import ConfigError, PermanentError, RetryableError
from streamforge_utils.model.series import Series
from streamforge_utils.ports.archive import FileRefused
from tests.adapters.binance.archivebench import (
    DAY,
    IDS,
    TRADES,
    ids_of,
    listed,
    names,
    records,
    verified,
)
from tests.adapters.binance.archivebench import host as host
from tests.doubles.archivefiles import archive_of, day, path_of, put_rows, put_trades, trade
from tests.doubles.archivehost import ArchiveHost, status, zipped
from tests.doubles.clock import FakeClock
from tests.doubles.observer import RecordingObserver

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
