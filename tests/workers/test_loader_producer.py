"""loader-producer: what the archive has is on the topic, what it has not is told, whatever is killed."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from streamforge import wiring
from streamforge.exchange.config import ExchangeConfig
from streamforge.workers import loader_api_candles, loader_producer
from streamforge_utils.model.messages import EOS_KEY, Event
from streamforge_utils.model.series import Series
from streamforge_utils.ports.bus import Received
from streamforge_utils.runtime.history import archive_loader
from streamforge_utils.runtime.life.settings import ExchangeSettings
from tests.cleanenv import environment
from tests.doubles.archivefiles import day, path_of, put_candles, put_rows, put_trades, trade
from tests.doubles.archivehost import ArchiveHost, archive_host, breaks_off, status
from tests.exchange.conftest import peer
from tests.limits import LIMIT_S
from tests.runtime.rig import TOPIC, Rig

HOURS, TRADES = Series("BTCUSDT", "candles", "1h"), Series("BTCUSDT", "trades")
VERSION = re.compile(rb'"_version":\d+')


@pytest_asyncio.fixture
async def host() -> AsyncIterator[ArchiveHost]:
    async with archive_host() as made:
        yield made


def rig_of(folder: Path, url: str, type_name: str, time_range: str, **more: str) -> Rig:
    rig = Rig(folder)
    rig.environment |= {
        "TYPE": type_name,
        "TIME_RANGE": time_range,
        "STREAMFORGE_ARCHIVE_URL": url,
        "STREAMFORGE_ARCHIVE_SAMPLES": "none",
        "STREAMFORGE_EXCHANGE_URL": "http://127.0.0.1:9",
        **more,
    }
    return rig


async def loaded(rig: Rig, *, code: int = 0) -> tuple[list[Received], Event, dict[str, Any]]:
    """The records on the topic, the terminal event and its `extra`."""
    await rig.prepare()
    assert await rig.live(loader_producer.DEFINITION) == code
    last = (await rig.events())[-1]
    return [m for m in await rig.read(TOPIC) if m.key != EOS_KEY], last, dict(last.extra or {})


def positions(records: list[Received]) -> list[int]:
    return [int((record.key or b"").rpartition(b"_")[2]) for record in records]


def hours(*dates: str) -> list[int]:
    return [time for one in dates for time in range(day(one).start_ms, day(one).end_ms, 3_600_000)]


async def test_the_archive_gives_byte_for_byte_what_rest_gives_but_for_the_version(tmp_path: Path) -> None:
    async with peer(ExchangeConfig()) as exchange:
        values = []
        for name in ("archive", "rest"):
            rig = rig_of(tmp_path / name, exchange.exchange.url, "api_candles_1m", "2024-07-30T06:00Z:2024-07-31")
            rig.other_exchange = wiring.make_exchange(ExchangeSettings(urls=(exchange.exchange.url,)))
            await rig.prepare()
            if name == "archive":
                assert await rig.live(loader_producer.DEFINITION) == 0
            else:
                assert await rig.live(loader_api_candles.DEFINITION) == 0
            values.append([(m.key, m.value) for m in await rig.read(TOPIC) if m.key != EOS_KEY])
            await rig.close()
        archive, rest = values
        assert len(archive) == 18 * 60
        assert [(key, VERSION.sub(b"", value)) for key, value in archive] == [
            (key, VERSION.sub(b"", value)) for key, value in rest
        ]
        # What is asked for later is a later observation.
        assert all(VERSION.findall(a[1]) < VERSION.findall(b[1]) for a, b in zip(archive, rest, strict=True))


async def test_a_whole_month_is_one_file_and_the_rest_are_days(host: ArchiveHost, tmp_path: Path) -> None:
    dates = [f"2024-07-{number:02}" for number in range(1, 32)] + ["2024-08-01", "2024-08-02"]
    for date in ("2024-06", "2024-07", *dates):
        put_candles(host, HOURS, date)
    rig = rig_of(tmp_path, host.url, "api_candles_1h", "2024-07-01:2024-08-02T12:00Z")
    records, last, extra = await loaded(rig)
    assert positions(records) == hours("2024-07", "2024-08-01") + hours("2024-08-02")[:12]
    assert (last.event, last.records_written, extra["share"]) == ("finished", len(records), 1.0)
    assert not {"unloaded", "disputed", "read"} & extra.keys()
    fetched = {path for path in host.asked if path.endswith(".zip")}
    assert fetched == {path_of(HOURS, date) for date in ("2024-07", "2024-08-01", "2024-08-02")}
    await rig.close()


async def test_a_month_that_is_refused_is_loaded_by_its_days(host: ArchiveHost, tmp_path: Path) -> None:
    put_candles(host, HOURS, "2024-02", checksum="0" * 64)
    put_candles(host, HOURS, "2024-03")
    for number in range(1, 30):
        put_candles(host, HOURS, f"2024-02-{number:02}", checksum="0" * 64 if number == 7 else "")
    rig = rig_of(tmp_path, host.url, "api_candles_1h", "2024-02-01:2024-04-01")
    records, _, extra = await loaded(rig)
    lacking = set(hours("2024-02-07"))
    assert positions(records) == [time for time in hours("2024-02", "2024-03") if time not in lacking]
    (unloaded,) = extra["unloaded"]
    assert unloaded["range"] == "2024-02-07:2024-02-08"
    assert "BTCUSDT-1h-2024-02-07.zip has the SHA-256" in unloaded["reason"]
    assert host.asked[path_of(HOURS, "2024-03")] == 1
    await rig.close()


async def test_what_no_file_has_is_told_and_the_rest_is_loaded(host: ArchiveHost, tmp_path: Path) -> None:
    put_candles(host, HOURS, "2024-08-01")
    put_candles(host, HOURS, "2024-08-04", without=hours("2024-08-04")[5:7])
    broken = put_rows(host, HOURS, "2024-08-05", b"1,2\n")
    gone = path_of(HOURS, "2024-08-06")
    put_candles(host, HOURS, "2024-08-06")
    host.expect(gone, status(404))
    rig = rig_of(tmp_path, host.url, "api_candles_1h", "2024-08-01T06:00Z:2024-08-07")
    records, last, extra = await loaded(rig)
    assert last.event == "finished"
    assert positions(records) == hours("2024-08-01")[6:] + [
        time for time in hours("2024-08-04") if time not in hours("2024-08-04")[5:7]
    ]
    assert [one["range"] for one in extra["unloaded"]] == [
        "2024-08-02:2024-08-04",
        "2024-08-04T05:00Z:2024-08-04T07:00Z",
        "2024-08-05:2024-08-06",
        "2024-08-06:2024-08-07",
    ]
    reasons = [one["reason"] for one in extra["unloaded"]]
    assert reasons[0] == "the archive has no file of it"
    assert reasons[1] == f"{path_of(HOURS, '2024-08-04')} lacks it"
    assert reasons[2] == f"{broken}: row '1,2': it has 2 columns, not 12"
    assert reasons[3].startswith(f"{gone}: the archive does not have it")
    await rig.close()


async def test_a_day_of_trades_that_was_cut_is_told_from_where_it_ends(host: ArchiveHost, tmp_path: Path) -> None:
    cut = range(1000, 1800)
    start_ms = day("2024-08-01").start_ms
    put_rows(host, TRADES, "2024-08-01", b"".join(trade(one, start_ms + 40_000 * (one - 1000)) for one in cut))
    put_trades(host, TRADES, "2024-08-02", range(2000, 2500), without=[2100, 2101])
    rig = rig_of(tmp_path, host.url, "api_trades", "2024-08-01:2024-08-03")
    records, _, extra = await loaded(rig)
    assert positions(records) == [*cut, *(one for one in range(2000, 2500) if one not in (2100, 2101))]
    assert extra["unloaded"] == [
        {
            "range": "2024-08-01T08:52:40.001Z:2024-08-02",
            "reason": f"{path_of(TRADES, '2024-08-01')} or {path_of(TRADES, '2024-08-02')} lacks trade_id 1800 to 1999",
        },
        {
            "range": "2024-08-02T04:45:07.201Z:2024-08-02T04:53:45.600Z",
            "reason": f"{path_of(TRADES, '2024-08-02')} lacks trade_id 2100 to 2101",
        },
    ]
    holes = [day(one["range"]) for one in extra["unloaded"]]
    assert [(one["start_ms"], one["end_ms"], one["first_id"], one["last_id"]) for one in extra["read"]] == [
        (start_ms, holes[0].start_ms, 1000, 1799),
        (holes[0].end_ms, holes[1].start_ms, 2000, 2099),
        (holes[1].end_ms, day("2024-08-02").end_ms, 2102, 2499),
    ], "an edge beside a hole is known, too"
    await rig.close()


async def test_ranges_of_one_file_are_clipped_and_it_is_read_once(host: ArchiveHost, tmp_path: Path) -> None:
    path = put_trades(host, TRADES, "2024-08-01", range(24 * 60))
    ranges = "2024-08-01T01:00Z:2024-08-01T02:00Z,2024-08-01T05:00Z:2024-08-01T05:01Z"
    rig = rig_of(tmp_path, host.url, "api_trades", "2024-08-01", STREAMFORGE_RANGES=ranges)
    records, last, extra = await loaded(rig)
    assert positions(records) == [*range(60, 121), 300, 301], "others may share the millisecond of an end"
    assert (last.records_written, "unloaded" in extra, host.asked[path]) == (63, False, 1)
    hour, minute = day("2024-08-01T01:00Z:2024-08-01T02:00Z"), day("2024-08-01T05:00Z:2024-08-01T05:01Z")
    assert extra["read"] == [
        {"start_ms": hour.start_ms, "end_ms": hour.end_ms, "first_id": 60, "last_id": 119},
        {"start_ms": minute.start_ms, "end_ms": minute.end_ms, "first_id": 300, "last_id": 300},
    ]
    await rig.close()


async def test_an_archive_that_does_not_serve_fails_one_attempt_and_is_told_by_the_next(
    host: ArchiveHost, tmp_path: Path
) -> None:
    put_candles(host, HOURS, "2024-08-01")
    put_candles(host, HOURS, "2024-08-02")
    put_candles(host, HOURS, "2024-08-03")
    rig = rig_of(tmp_path / "1", host.url, "api_candles_1h", "2024-08-01:2024-08-04")
    full = {"STREAMFORGE_ARCHIVE_CACHE_DIR": "/dev/null/archive"}
    rig.environment |= full
    _, last, _ = await loaded(rig, code=2)
    assert "STREAMFORGE_ARCHIVE_CACHE_DIR" in (last.error_message or "")
    await rig.close()

    def refuse() -> None:
        host.expect(path_of(HOURS, "2024-08-02"), *[status(403, **{"Retry-After": "100"})] * 10)

    refuse()
    rig = rig_of(tmp_path / "2", host.url, "api_candles_1h", "2024-08-01:2024-08-04")
    _, last, _ = await loaded(rig, code=1)
    assert (last.event, "HTTP 403" in (last.error_message or "")) == ("error", True)
    rig.environment["STREAMFORGE_ATTEMPT"] = "2"
    assert await rig.live(loader_producer.DEFINITION) == 0
    last = (await rig.events())[-1]
    assert last.event == "finished"
    (unloaded,) = (last.extra or {})["unloaded"]
    assert (unloaded["range"], "HTTP 403" in unloaded["reason"]) == ("2024-08-02:2024-08-04", True)
    assert set(hours("2024-08-01")) == set(positions([m for m in await rig.read(TOPIC) if m.key != EOS_KEY]))
    await rig.close()


async def test_without_an_archive_the_start_is_refused(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, "", "api_candles_1h", "2024-08-01")
    _, last, _ = await loaded(rig, code=2)
    assert "STREAMFORGE_ARCHIVE_URL is missing, and the exchange is not Binance" in (last.error_message or "")
    await rig.close()


@pytest.mark.e2e
async def test_a_worker_that_is_killed_while_it_fetches_and_reads_loses_nothing(
    host: ArchiveHost, tmp_path: Path
) -> None:
    ids = range(30_000)
    put_trades(host, TRADES, "2024-08-01", ids[:15_000])
    second = put_trades(host, TRADES, "2024-08-02", ids[15_000:])
    rig = rig_of(tmp_path, host.url, "api_trades", "2024-08-01:2024-08-03")
    await rig.prepare()
    reached = asyncio.Event()
    host.expect(second, breaks_off(host, second, tmp_path / "archive", 20_000, reached=reached))
    environ = environment(**rig.environment)
    command = [sys.executable, "-m", "streamforge.workers", "loader-producer"]
    for attempt in (1, 2):
        environ["STREAMFORGE_ATTEMPT"] = str(attempt)
        process = await asyncio.create_subprocess_exec(*command, env=environ)
        async with asyncio.timeout(LIMIT_S):
            if attempt == 1:
                await reached.wait()
                process.kill()
            assert await process.wait() == (-9 if attempt == 1 else 0)
    found: dict[int, set[bytes]] = {}
    for record in await rig.read(TOPIC):
        if record.key != EOS_KEY:
            found.setdefault(msgspec.json.decode(record.value)["trade_id"], set()).add(record.value)
    assert sorted(found) == list(ids)
    assert all(len(values) == 1 for values in found.values())
    (told,) = ((await rig.events())[-1].extra or {})["read"]
    assert (told["first_id"], told["last_id"]) == (0, 29_999)
    assert host.ranges == ["bytes=20000-"]
    assert host.asked[path_of(TRADES, "2024-08-01")] == 1
    await rig.close()


@pytest.mark.e2e
async def test_who_waits_for_the_download_of_a_worker_that_is_killed_goes_on_with_it_and_a_third_uses_it(
    host: ArchiveHost, tmp_path: Path
) -> None:
    cache, reached = tmp_path / "cache", asyncio.Event()
    path = put_trades(host, TRADES, "2024-08-01", range(15_000))
    host.expect(path, breaks_off(host, path, cache, 20_000, reached=reached))
    shared = {"STREAMFORGE_ARCHIVE_CACHE_DIR": str(cache)}
    rigs = [rig_of(tmp_path / name, host.url, "api_trades", "2024-08-01", **shared) for name in "123"]
    for rig in rigs:
        await rig.prepare()

    def started(rig: Rig) -> Awaitable[asyncio.subprocess.Process]:
        command = [sys.executable, "-m", "streamforge.workers", "loader-producer"]
        return asyncio.create_subprocess_exec(*command, env=environment(**rig.environment))

    async with asyncio.timeout(LIMIT_S):
        killed = await started(rigs[0])
        await reached.wait()
        waiting = await started(rigs[1])
        while not any("another process downloads" in str(one.extra) for one in await rigs[1].events()):
            assert waiting.returncode is None
        killed.kill()
        assert (await killed.wait(), await waiting.wait()) == (-9, 0)
        assert await (await started(rigs[2])).wait() == 0
    assert (host.asked[path], host.ranges) == (2, ["bytes=20000-"])
    for rig, records in zip(rigs, (0, 15_000, 15_000), strict=True):
        assert len(positions([m for m in await rig.read(TOPIC) if m.key != EOS_KEY])) == records
        await rig.close()


async def test_very_many_gaps_are_held_as_one(
    host: ArchiveHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_loader, "MOST_GAPS", 30)
    monkeypatch.setattr(archive_loader, "TOLD_RANGES", 20)
    held: list[int] = []
    joined = archive_loader._joined

    def joins(parts: Any) -> Any:
        held.append(len(parts))
        return joined(parts)

    monkeypatch.setattr(archive_loader, "_joined", joins)
    put_trades(host, TRADES, "2024-08-01", range(1000, 1200), without=range(1001, 1200, 2))
    rig = rig_of(tmp_path, host.url, "api_trades", "2024-08-01")
    records, _, extra = await loaded(rig)
    assert positions(records) == [*range(1000, 1200, 2)]
    told = [(day(one["range"]), one["reason"]) for one in extra["unloaded"]]
    assert held[:3] == [31, 31, 31]
    assert max(held) == 31
    assert len(told) <= 20
    assert "ranges, the first one because" in told[0][1]
    whole = day("2024-08-01")
    step_ms = (whole.end_ms - whole.start_ms) // 200
    lacking = range(whole.start_ms + step_ms, whole.start_ms + 198 * step_ms, 2 * step_ms)
    assert all(any(time in span for span, _ in told) for time in lacking)
    await rig.close()
