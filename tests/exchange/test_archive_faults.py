"""Each fault of the archive does what its line in `FAULTS` says, to the files that it names, and nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import io
import zipfile
import zlib
from collections.abc import Sequence
from itertools import permutations
from typing import Any

import aiohttp
import pytest
from isal import isal_zlib

from streamforge.exchange.config import ExchangeConfig
from streamforge.exchange.faults import FAULTS
from tests.exchange.conftest import Answer, Peer, ms, peer
from tests.exchange.listings import keys, page, texts
from tests.limits import LIMIT_S

FOLDER = "data/spot/daily/klines/BTCUSDT/1h/"
DAYS = [f"{FOLDER}BTCUSDT-1h-2024-07-{day}.zip" for day in (29, 30, 31)]
TRADES = "data/spot/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2024-07-31.zip"
OF_TRADES = "day=2024-07-31,file=*/aggTrades/*"


def faulty(*faults: str) -> ExchangeConfig:
    return ExchangeConfig(faults=faults)


async def statuses(exchange: Peer, paths: Sequence[str] = tuple(DAYS)) -> list[int]:
    return [(await exchange.get(f"/{path}")).status for path in paths]


async def checked(exchange: Peer, path: str) -> bool:
    """Whether a file is what its checksum says."""
    found, checksum = await exchange.get(f"/{path}"), await exchange.get(f"/{path}.CHECKSUM")
    return checksum.body.decode() == f"{hashlib.sha256(found.body).hexdigest()}  {path.rpartition('/')[2]}\n"


def lines(answer: Answer) -> list[list[str]]:
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        return [line.split(",") for line in archive.read(archive.namelist()[0]).decode().splitlines()]


@pytest.mark.parametrize(
    ("fault", "status"), [("waf", 403), ("500", 500), ("503", 503), ("429", 429), ("garbage", 200), ("504", 504)]
)
@pytest.mark.parametrize("what", ["archive", "checksum", "listing"])
async def test_an_answer_of_the_archive_is_replaced_once(fault: str, status: int, what: str) -> None:
    path = {"archive": DAYS[0], "checksum": f"{DAYS[0]}.CHECKSUM", "listing": f"?prefix={FOLDER}"}[what]
    async with peer(faulty(f"{fault}:path={what},count=1", f"{fault}:path=klines")) as exchange:
        answers = [await exchange.get(f"/{path}") for _ in range(2)]
        assert [answer.status for answer in answers] == [status, 200]
        assert [b"<html>" in answer.body for answer in answers] == [True, False]
        assert (await exchange.get("/control/log")).json["strikes"][0]["path"] == what  # type: ignore[index]


async def test_faults_of_every_endpoint_leave_the_archive_alone() -> None:
    async with peer(faulty("500", "cut", "slow:ms=9000000", "truncated")) as exchange:
        assert await statuses(exchange) == [200] * 3
        assert await checked(exchange, DAYS[0])


@pytest.mark.parametrize(
    ("selection", "struck"),
    [
        ("symbol=ETHUSDT", []),
        ("symbol=BTCUSDT", [0, 1, 2]),
        ("day=2024-07-30", [1]),
        ("day=2024-07", []),  # the file of the month
        ("file=*/1h/*-29.zip", [0]),
        ("file=*/trades/*", []),
        ("count=1,after=1", [1]),
    ],
)
async def test_a_fault_strikes_the_files_that_it_names(selection: str, struck: list[int]) -> None:
    async with peer(faulty(f"archive-missing:{selection}")) as exchange:
        expected = [404 if number in struck else 200 for number in range(3)]
        assert await statuses(exchange) == expected
        assert await statuses(exchange, [f"{day}.CHECKSUM" for day in DAYS]) == expected
        assert await statuses(exchange) == expected, "what was struck stays so"
        listed = await keys(exchange, prefix=f"{FOLDER}BTCUSDT-1h-2024-07-")
        assert [day for number, day in enumerate(DAYS) if number not in struck] == [k for k in listed if k in DAYS]
        await exchange.send("DELETE", "/control/faults")
        assert await statuses(exchange) == [200] * 3


async def test_a_missing_file_may_be_listed() -> None:
    async with peer(faulty("archive-missing:day=2024-07-30,listed=1")) as exchange:
        assert await statuses(exchange) == [200, 404, 200]
        assert DAYS[1] in await keys(exchange, prefix=FOLDER)


async def test_a_checksum_is_wrong_once_and_the_file_is_right() -> None:
    async with peer(faulty("archive-checksum:count=1")) as exchange:
        assert [await checked(exchange, DAYS[0]) for _ in range(2)] == [False, True]
        assert len(lines(await exchange.get(f"/{DAYS[0]}"))) == 24


@pytest.mark.parametrize(
    ("kind", "body"),
    [("missing", b"<Code>NoSuchKey"), ("malformed", b"SHA256 ("), ("name", b"  other-BTCUSDT-1h-2024-07-29.zip\n")],
)
async def test_a_checksum_cannot_be_used(kind: str, body: bytes) -> None:
    async with peer(faulty(f"archive-checksum:kind={kind},count=1")) as exchange:
        answer = await exchange.get(f"/{DAYS[0]}.CHECKSUM")
        assert (answer.status, body in answer.body) == (404 if kind == "missing" else 200, True)
        assert await checked(exchange, DAYS[0])


async def test_a_file_is_corrupt_and_has_the_checksum_of_the_right_one() -> None:
    async with peer(faulty("archive-corrupt:count=2")) as exchange:
        corrupt = (await exchange.get(f"/{DAYS[0]}")).body
        part = (await exchange.get(f"/{DAYS[0]}", {"Range": "bytes=200-"})).body
        assert corrupt[200:] == part
        with zipfile.ZipFile(io.BytesIO(corrupt)) as archive, pytest.raises((zipfile.BadZipFile, zlib.error)):
            archive.read(archive.namelist()[0])
        assert await checked(exchange, DAYS[0])


async def test_a_download_breaks_off_and_can_be_resumed() -> None:
    async with peer(faulty("cut:path=archive,count=1")) as exchange:
        with pytest.raises(aiohttp.ClientPayloadError):
            await exchange.get(f"/{DAYS[0]}")
        assert (await exchange.get(f"/{DAYS[0]}", {"Range": "bytes=100-"})).status == 206
        assert exchange.state.archive.requests == {"daily klines": {"closed": 1, "206": 1}}


async def test_a_zip_ends_in_its_middle_as_if_it_were_whole() -> None:
    async with peer(faulty("truncated:path=archive,count=1")) as exchange:
        half, whole = [(await exchange.get(f"/{DAYS[0]}")).body for _ in range(2)]
        assert half == whole[: len(whole) // 2]
        with pytest.raises(zipfile.BadZipFile):
            zipfile.ZipFile(io.BytesIO(half))


async def test_a_download_drips() -> None:
    async with peer(faulty("drip:path=archive,bytes=1000,ms=0", "slow:path=archive,ms=1")) as exchange:
        assert await checked(exchange, DAYS[0])


async def test_a_download_is_held_until_the_fault_is_switched_off() -> None:
    async with peer(faulty("held:path=archive")) as exchange:
        held = asyncio.create_task(checked(exchange, DAYS[0]))
        async with asyncio.timeout(LIMIT_S):
            while not exchange.state.faults.active[0].struck:  # noqa: ASYNC110 - the server reports it to nobody
                await asyncio.sleep(0.005)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await asyncio.shield(held)
        exchange.state.faults.clear()
        assert await held


async def test_a_file_is_replaced_between_two_requests() -> None:
    async with peer(faulty("archive-replaced:count=1")) as exchange:
        before = await page(exchange, prefix=DAYS[0])
        first, second = [await exchange.get(f"/{DAYS[0]}") for _ in range(2)]
        for name in ("ETag", "Last-Modified"):
            assert first.headers[name] != second.headers[name]
        assert (lines(first), first.body != second.body) == (lines(second), True)
        assert await checked(exchange, DAYS[0])
        resumed = await exchange.get(f"/{DAYS[0]}", {"Range": "bytes=9-", "If-Range": first.headers["ETag"]})
        assert (resumed.status, resumed.body) == (200, second.body)
        after = await page(exchange, prefix=DAYS[0])
        assert texts(before, "Contents/ETag")[0] == first.headers["ETag"]
        assert texts(after, "Contents/ETag")[0] == second.headers["ETag"]


def _numbers(rows: list[list[str]]) -> list[int]:
    return [int(row[0]) - int(rows[0][0]) for row in rows]


@pytest.mark.parametrize("micro", [False, pytest.param(True, marks=pytest.mark.e2e)])
async def test_rows_of_a_file_are_spoilt_and_its_checksum_is_right(micro: bool) -> None:
    path = TRADES.replace("2024-07-31", "2025-07-19") if micro else TRADES
    selection = "day=2025-07-19" if micro else OF_TRADES

    async def spoilt(fault: str) -> list[list[str]]:
        await exchange.send("DELETE", "/control/faults")
        exchange.state.faults.add(f"archive-rows:{fault},{selection}")
        assert await checked(exchange, path)
        return lines(await exchange.get(f"/{path}"))

    async with peer(now_ms=ms("2025-07-20T12:00")) as exchange:
        right = lines(await exchange.get(f"/{path}"))
        count, middle = len(right), len(right) // 2
        assert _numbers(right) == [*range(count)]
        assert await spoilt("kind=skipped,rows=2") == right[:middle] + right[middle + 2 :]
        assert await spoilt("kind=repeated") == right[: middle + 1] + right[middle:]
        swapped = await spoilt("kind=swapped,rows=3")
        assert swapped == [*right[:middle], right[middle + 3], *right[middle : middle + 3], *right[middle + 4 :]]
        header = await spoilt("kind=header")
        assert (header[1:], header[0][0]) == (right, "agg_trade_id")
        assert len(header[0]) == len(right[0])
        cut = await spoilt("kind=cut,at=09:29")
        assert cut == right[: len(cut)]
        scale = 1000 if micro else 1
        limit = (ms("2025-07-19T09:29") if micro else ms("2024-07-31T09:29")) * scale
        assert int(cut[-1][5]) < limit <= int(right[len(cut)][5])
        mixed = await spoilt("kind=mixed-units")
        assert mixed[:middle] == right[:middle]
        assert {len(row[5]) for row in mixed[middle:]} == {13 if micro else 16}
        changed: dict[str, Any] = {
            "zero-quantity": [*right[middle][:2], "0.00000000", *right[middle][3:]],
            "bad-price": [right[middle][0], "n/a", *right[middle][2:]],
            "fewer-columns": right[middle][:-1],
            "more-columns": [*right[middle], "0"],
            "altered": [*right[middle][:2], f"1{right[middle][2]}", *right[middle][3:]],
        }
        for kind, row in changed.items():
            assert await spoilt(f"kind={kind}") == [*right[:middle], row, *right[middle + 1 :]]
        last = [*right[-1][:4], str(int(right[-1][4]) + 1), *right[-1][5:]]
        assert await spoilt("kind=torn") == [*right[:-1], last]
        assert await spoilt("kind=altered,rows=0") == [[*row[:2], f"1{row[2]}", *row[3:]] for row in right]


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("path", ["../BTCUSDT-1h-2024-07-29.csv"]),
        ("two", ["BTCUSDT-1h-2024-07-29.csv", "second.csv"]),
        ("none", []),
        ("name", ["BTCUSDT-1h-2024-07-other.csv"]),
    ],
)
async def test_members_of_a_zip_are_others(kind: str, names: list[str]) -> None:
    async with peer(faulty(f"archive-zip:kind={kind}")) as exchange:
        assert await checked(exchange, DAYS[0])
        with zipfile.ZipFile(io.BytesIO((await exchange.get(f"/{DAYS[0]}")).body)) as archive:
            assert archive.namelist() == names


async def test_a_small_zip_is_a_bomb() -> None:
    async with peer(faulty("archive-zip:kind=bomb,megabytes=64")) as exchange:
        body = (await exchange.get(f"/{DAYS[0]}")).body
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            told = archive.infolist()[0]
        assert (len(body) < 500_000, told.file_size < 100_000) == (True, True)
        begin = told.header_offset + 30 + len(told.filename)
        inflated = isal_zlib.decompress(body[begin : begin + told.compress_size], -15)
        assert len(inflated) == 64 << 20


async def test_whatever_two_faults_are_in_a_file_it_is_made() -> None:
    """Rows of a bomb are none, and a zip may have no member."""
    rows, zips = FAULTS["archive-rows"].choices["kind"], FAULTS["archive-zip"].choices["kind"]
    faults = [*(f"archive-rows:kind={one}" for one in rows), *(f"archive-zip:kind={one},megabytes=2" for one in zips)]
    async with peer() as exchange:
        for pair in permutations(faults, 2):
            exchange.state.faults.active = []
            for text in pair:
                exchange.state.faults.add(text)
            assert (pair, await statuses(exchange, DAYS[:1])) == (pair, [200])


async def test_a_listing_is_cut_or_empty_or_has_no_end() -> None:
    async with peer() as exchange:
        whole = await keys(exchange, prefix=FOLDER)
        for kind, expected in (("cut", whole[:500]), ("empty", [])):
            exchange.state.faults.active = []
            exchange.state.faults.add(f"archive-listing:kind={kind},count=1,symbol=BTCUSDT")
            assert await keys(exchange, prefix=FOLDER) == expected
            assert await keys(exchange, prefix=FOLDER) == whole
        exchange.state.faults.active = []
        exchange.state.faults.add("archive-listing:kind=loop")
        first = await page(exchange, list_type=2, prefix=FOLDER)
        token = texts(first, "NextContinuationToken")[0]
        again = await page(exchange, list_type=2, prefix=FOLDER, continuation_token=token)
        assert texts(first, "Contents/Key") == texts(again, "Contents/Key") == whole[:1000]
        assert texts(again, "IsTruncated") == ["true"]
