"""The archive of the test exchange: files that hold what REST has, when they appear, their listing, and HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import io
import shutil
import zipfile
from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamforge.exchange.config import DEFAULT_SYMBOLS, ExchangeConfig
from streamforge.exchange.endpoint import RowsEndpoint
from streamforge.exchange.made_files import MadeFiles
from streamforge.exchange.published_files import PublishedFiles
from streamforge.exchange.zip_writer import Member
from streamforge_utils.model.timeranges import TimeRange
from tests.exchange.conftest import DAY, HOUR, NOW, Peer, ms, peer
from tests.exchange.listings import keys, page, texts
from tests.places import market_data

DAY_FILE = "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-07-31.zip"


@pytest.fixture
async def late() -> AsyncIterator[Peer]:
    """A seeded exchange in the summer of 2025, after the change to microseconds."""
    async with peer(now_ms=ms("2025-07-20T12:00")) as found:
        yield found


async def unpacked(exchange: Peer, path: str) -> list[list[str]]:
    """The cells of the lines of a file, which is whole and what its checksum says."""
    answer = await exchange.get(f"/{path}")
    assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(answer.body)))
    checksum = await exchange.get(f"/{path}.CHECKSUM")
    name = path.rpartition("/")[2]
    assert checksum.body.decode() == f"{hashlib.sha256(answer.body).hexdigest()}  {name}\n"
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.namelist() == [name.replace(".zip", ".csv")]
        text = archive.read(archive.namelist()[0]).decode()
    assert text.endswith("\n")
    return [line.split(",") for line in text.splitlines()]


async def expected(exchange: Peer, endpoint: str, span: TimeRange, **query: str) -> list[list[str]]:
    """What REST has of a span, as the archive writes it."""
    answer = await exchange.get(f"/oracle/{endpoint}", startTime=span.start_ms, endTime=span.end_ms, **query)
    rows: list[Any] = msgspec.json.decode(answer.body)
    micro = span.start_ms >= ms("2025-01-01")
    times = {"klines": {0: "000", 6: "999"}, "aggTrades": {5: "000"}, "historicalTrades": {4: "000"}}[endpoint]
    return [
        [str(cell) + (times.get(column, "") if micro else "") for column, cell in enumerate(cells)]
        for cells in ([*row.values()] if isinstance(row, dict) else row for row in rows)
    ]


@pytest.mark.parametrize(
    ("place", "start", "end", "endpoint"),
    [
        ("daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-07-31", "2024-07-31", "2024-08-01", "klines"),
        ("daily/klines/NEWUSDT/5m/NEWUSDT-5m-2024-03-15", "2024-03-15", "2024-03-16", "klines"),
        ("daily/klines/ETHUSDT/1m/ETHUSDT-1m-2025-01-01", "2025-01-01", "2025-01-02", "klines"),
        ("daily/klines/ETHUSDT/1m/ETHUSDT-1m-2024-12-31", "2024-12-31", "2025-01-01", "klines"),
        ("monthly/klines/OLDUSDT/1h/OLDUSDT-1h-2022-06", "2022-06-01", "2022-07-01", "klines"),
        ("monthly/klines/BTCUSDT/3d/BTCUSDT-3d-2025-03", "2025-03-01", "2025-04-01", "klines"),
        ("monthly/klines/BTCUSDT/1w/BTCUSDT-1w-2024-07", "2024-07-01", "2024-08-01", "klines"),
        ("monthly/klines/BTCUSDT/1mo/BTCUSDT-1mo-2024-07", "2024-07-01", "2024-08-01", "klines"),
        ("daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2024-07-31", "2024-07-31", "2024-08-01", "aggTrades"),
        ("daily/trades/BTCUSDT/BTCUSDT-trades-2024-07-31", "2024-07-31", "2024-08-01", "historicalTrades"),
        ("daily/trades/ETHUSDT/ETHUSDT-trades-2025-07-19", "2025-07-19", "2025-07-20", "historicalTrades"),
        ("daily/aggTrades/ETHUSDT/ETHUSDT-aggTrades-2025-07-19", "2025-07-19", "2025-07-20", "aggTrades"),
    ],
)
async def test_a_file_holds_what_rest_has(place: str, start: str, end: str, endpoint: str, late: Peer) -> None:
    symbol, name = place.split("/")[2], place.rpartition("/")[2].split("-")[1]
    query = {"symbol": symbol} | ({"interval": "1M" if name == "1mo" else name} if endpoint == "klines" else {})
    found = await unpacked(late, f"data/spot/{place}.zip")
    assert found == await expected(late, endpoint, TimeRange(ms(start), ms(end)), **query)


async def test_a_symbol_whose_name_is_not_ascii_has_files(late: Peer) -> None:
    symbol = "这是测试币456"
    found = await unpacked(late, f"data/spot/daily/klines/{symbol}/1h/{symbol}-1h-2024-07-31.zip")
    assert found == await expected(
        late, "klines", TimeRange(ms("2024-07-31"), ms("2024-08-01")), symbol=symbol, interval="1h"
    )


async def test_the_archive_has_what_rest_has_forgotten_and_lacks_what_was_downtime() -> None:
    hole = TimeRange(ms("2024-07-30T01:00"), ms("2024-07-30T23:00"))
    forgetful = msgspec.structs.replace(DEFAULT_SYMBOLS[0], trades_from_ms=ms("2024-07-31"))
    path = "data/spot/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2024-07-30.zip"
    async with peer(ExchangeConfig(symbols=(forgetful,), holes={"*": (hole,)})) as exchange:
        found = await unpacked(exchange, path)
        assert (
            await expected(exchange, "aggTrades", TimeRange(hole.start_ms - HOUR, hole.end_ms), symbol="BTCUSDT") == []
        )
        candles = await unpacked(exchange, "data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-07-30.zip")
    async with peer(ExchangeConfig(holes={"*": (hole,)})) as exchange:
        day = TimeRange(ms("2024-07-30"), ms("2024-07-31"))
        assert found == await expected(exchange, "aggTrades", day, symbol="BTCUSDT")
    assert [int(row[0]) for row in candles] == [day.start_ms, day.end_ms - HOUR]


async def test_the_same_events_give_the_same_bytes_and_another_seed_others() -> None:
    async def met(config: ExchangeConfig) -> tuple[str, bytes]:
        async with peer(config) as exchange:
            answer = await exchange.get(f"/{DAY_FILE}")
            return answer.headers["ETag"], answer.body

    first, again, other = [await met(ExchangeConfig(seed=seed)) for seed in (1, 1, 2)]
    assert first == again
    assert other[0] != first[0]
    assert other[1] != first[1]


@pytest.mark.parametrize(
    ("path", "from_then_on"),
    [
        ("daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-08-01", "2024-08-02"),
        ("monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-07", "2024-08-05"),  # the first Monday
        ("monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-06", "2024-07-01"),  # is a Monday itself
        ("monthly/klines/BTCUSDT/3d/BTCUSDT-3d-2024-06", "2024-07-08"),  # its last bar ends on Tuesday
        ("monthly/trades/NEWUSDT/NEWUSDT-trades-2024-03", "2024-04-01"),
    ],
)
async def test_a_file_appears_when_its_time_has_come(path: str, from_then_on: str, exchange: Peer) -> None:
    since = ms(from_then_on)
    folder = f"data/spot/{path.rpartition('/')[0]}/"
    for now, there in ((since - 1, False), (since, True)):
        exchange.clock.set(now)
        answer = await exchange.send("HEAD", f"/data/spot/{path}.zip")
        assert answer.status == (200 if there else 404)
        assert (f"data/spot/{path}.zip" in await keys(exchange, prefix=folder)) is there


@pytest.mark.parametrize(
    "path",
    [
        "daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-08-01.zip",  # today
        "daily/klines/BTCUSDT/1m/BTCUSDT-1m-2017-08-16.zip",  # before the listing
        "daily/klines/OLDUSDT/1m/OLDUSDT-1m-2022-06-30.zip",  # after the delisting
        "daily/klines/BTCUSDT/1w/BTCUSDT-1w-2024-07-01.zip",
        "daily/klines/BTCUSDT/1M/BTCUSDT-1M-2024-07-01.zip",
        "daily/klines/BTCUSDT/1m/BTCUSDT-5m-2024-07-01.zip",
        "daily/klines/NO/1m/NO-1m-2024-07-01.zip",
        "daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-07.zip",
        "daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-7-1.zip",
        "daily/klines/BTCUSDT/1m/BTCUSDT-1m-20240701.zip",
        "daily/klines/BTCUSDT/1m/x/BTCUSDT-1m-2024-07-01.zip",
        "daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-07-01.csv",
        "daily/depth/BTCUSDT/BTCUSDT-depth-2024-07-01.zip",
        "weekly/trades/BTCUSDT/BTCUSDT-trades-2024-07-01.zip",
        "daily",
    ],
)
async def test_what_there_is_not_is_not_found(path: str, exchange: Peer) -> None:
    for end in ("", ".CHECKSUM"):
        answer = await exchange.get(f"/data/spot/{path}{end}")
        assert answer.status == 404
        assert b"<Code>NoSuchKey</Code>" in answer.body


async def test_a_listing_names_each_file_with_what_it_is(exchange: Peer) -> None:
    prefix = "data/spot/daily/klines/NEWUSDT/1h/"
    root = await page(exchange, list_type=2, prefix=prefix)
    days = [f"2024-{month:02}-{day:02}" for month, day in [(3, 15), (3, 16)]]
    found = texts(root, "Contents/Key")
    assert found[:4] == [f"{prefix}NEWUSDT-1h-{day}.zip{end}" for day in days for end in ("", ".CHECKSUM")]
    assert len(found) == 2 * (NOW // DAY - ms("2024-03-15") // DAY)
    described = zip(found, *(texts(root, f"Contents/{name}") for name in ("Size", "ETag", "LastModified")), strict=True)
    for key, size, etag, modified in [*described][-4:]:
        answer = await exchange.get(f"/{key}")
        assert (str(len(answer.body)), answer.headers["ETag"]) == (size, etag)
        published = (date.fromisoformat(key.split("1h-")[1][:10]) + timedelta(days=1)).isoformat()
        assert modified == f"{published}T00:00:00.000Z"


@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_pages_of_any_size_make_the_same_listing(size: int, exchange: Peer) -> None:
    exchange.clock.set(ms("2024-03-20"))
    prefix = "data/spot/daily/klines/NEWUSDT/1"
    whole = await keys(exchange, prefix=prefix)
    assert whole == sorted(whole)
    assert len(whole) == 2 * 5 * len(("12h", "15m", "1d", "1h", "1m", "1s"))
    assert await keys(exchange, prefix=prefix, max_keys=size) == whole
    by_marker: list[str] = []
    more: dict[str, object] = {}
    while True:
        root = await page(exchange, "/data.binance.vision", prefix=prefix, max_keys=size, **more)
        by_marker += texts(root, "Contents/Key")
        if texts(root, "IsTruncated") == ["false"]:
            break
        more = {"marker": by_marker[-1]}
    assert by_marker == whole
    assert await keys(exchange, prefix=prefix, start_after=whole[6]) == whole[7:]


async def test_folders_are_grouped_and_the_delisted_are_among_them(exchange: Peer) -> None:
    folder = "data/spot/monthly/klines/"
    symbols = ["BNBUSDT", "BTCUSDT", "ETHUSDT", "NEWUSDT", "OLDUSDT", "SOLUSDT", "这是测试币456"]
    for size in (2, 1000):
        assert await keys(exchange, prefix=folder, delimiter="/", max_keys=size) == [f"{folder}{s}/" for s in symbols]
    assert await keys(exchange, prefix=f"{folder}B", delimiter="/") == [f"{folder}BNBUSDT/", f"{folder}BTCUSDT/"]
    assert await keys(exchange, prefix="", delimiter="/") == ["data/"]
    assert await keys(exchange, prefix="data/spot/d", delimiter="/") == ["data/spot/daily/"]
    assert [one.split("/")[-2] for one in await keys(exchange, prefix=f"{folder}BTCUSDT/", delimiter="/")] == sorted(
        ["12h", "15m", "1d", "1h", "1m", "1mo", "1s", "1w", "2h", "30m", "3d", "3m", "4h", "5m", "6h", "8h"]
    )
    assert await keys(exchange, prefix="data/futures/") == []
    first = await page(exchange, delimiter="/", prefix=folder, marker=f"{folder}ETHUSDT/", max_keys=1)
    assert texts(first, "CommonPrefixes/Prefix") == texts(first, "NextMarker") == [f"{folder}NEWUSDT/"]
    quoted = await page(exchange, list_type=2, prefix=f"{folder}这", delimiter="/", encoding_type="url")
    assert texts(quoted, "CommonPrefixes/Prefix") == [f"{folder}%E8%BF%99%E6%98%AF%E6%B5%8B%E8%AF%95%E5%B8%81456/"]
    exchange.clock.set(ms("2024-03-16") - 1)
    assert f"{folder}NEWUSDT/" not in await keys(exchange, prefix=folder, delimiter="/")


@pytest.mark.parametrize(
    "query", [{"max-keys": "x"}, {"max-keys": "-1"}, {"list-type": "2", "continuation-token": "é"}, {"delimiter": "-"}]
)
async def test_a_listing_that_is_not_understood_is_refused(query: dict[str, str], exchange: Peer) -> None:
    answer = await exchange.get("/", **query)
    assert answer.status == (501 if "delimiter" in query else 400)
    assert b"<Error><Code>" in answer.body


async def test_parts_of_a_file_are_given(exchange: Peer) -> None:
    whole = (await exchange.get(f"/{DAY_FILE}")).body
    size = len(whole)

    async def part(given: str, **headers: str) -> tuple[int, bytes, str | None]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await exchange.get(f"/{DAY_FILE}", {"Range": given, **named})
        return answer.status, answer.body, answer.headers.get("Content-Range")

    assert await part("bytes=0-0") == (206, whole[:1], f"bytes 0-0/{size}")
    assert await part("bytes=1000-") == (206, whole[1000:], f"bytes 1000-{size - 1}/{size}")
    assert await part("bytes=-10") == (206, whole[-10:], f"bytes {size - 10}-{size - 1}/{size}")
    assert await part(f"bytes=5-{size * 2}") == (206, whole[5:], f"bytes 5-{size - 1}/{size}")
    assert await part(f"bytes={size}-") == (416, b"", f"bytes */{size}")
    for nonsense in ("bytes=9-5", "bytes=-", "lines=1-2", "bytes=0-1,3-4"):
        assert await part(nonsense) == (200, whole, None)
    etag = (await exchange.get(f"/{DAY_FILE}")).headers["ETag"]
    assert await part("bytes=7-8", If_Range=etag) == (206, whole[7:9], f"bytes 7-8/{size}")
    assert await part("bytes=7-8", If_Range='"other"') == (200, whole, None)


async def test_a_file_is_given_only_if(exchange: Peer) -> None:
    described = await exchange.send("HEAD", f"/{DAY_FILE}")
    etag, modified = described.headers["ETag"], described.headers["Last-Modified"]
    assert modified == "Thu, 01 Aug 2024 00:00:00 GMT"
    assert described.body == b""
    size = int(described.headers["Content-Length"])

    async def answered(**headers: str) -> tuple[int, int]:
        answer = await exchange.get(f"/{DAY_FILE}", {name.replace("_", "-"): value for name, value in headers.items()})
        return answer.status, len(answer.body)

    assert await answered() == await answered(If_Match=etag) == await answered(If_None_Match='"x"') == (200, size)
    assert await answered(If_None_Match=f'"x", W/{etag}') == await answered(If_Modified_Since=modified) == (304, 0)
    assert await answered(If_Match='"x"') == (412, 0)
    assert await answered(If_Modified_Since="Wed, 31 Jul 2024 00:00:00 GMT") == (200, size)


async def test_a_file_is_made_once_for_all_who_ask_and_what_was_served_is_counted(exchange: Peer) -> None:
    answers = await asyncio.gather(*(exchange.get(f"/{DAY_FILE}") for _ in range(5)))
    await exchange.get(f"/{DAY_FILE}.CHECKSUM")
    await exchange.get(f"/{DAY_FILE}", {"Range": "bytes=0-9"})
    await exchange.get("/", prefix="data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-07-31")
    stats: Any = (await exchange.get("/control/stats")).json["archive"]
    assert stats["requests"] == {
        "daily klines": {"200": 5, "206": 1},
        "checksum": {"200": 1},
        "listing": {"200": 1},
    }
    assert stats["made"] == 1
    assert stats["bytes"] > 5 * len(answers[0].body)


async def test_zips_are_kept_up_to_a_limit(exchange: Peer) -> None:
    rows = [endpoint for endpoint in exchange.state.endpoints if isinstance(endpoint, RowsEndpoint)]
    published = PublishedFiles(rows, exchange.state.symbols, exchange.state.name)
    files = [
        found
        for day in range(1, 5)
        if (found := published.find(DAY_FILE.replace("07-31", f"07-0{day}"), NOW)) is not None
    ]
    made: list[int] = []
    kept = MadeFiles(lambda: made.append(1), limit=2 * files[0].size)
    for number in (0, 1, 0, 2, 0, 1, 3, 3):
        zipped = await kept.get(files[number], lambda file: [Member("one", file.lines())])
        assert zipped.size == files[number].size
    assert len(made) == 5, "those that were asked for last are kept"
    await kept.close()


RECORDED = {
    "klines-vision-csv": {
        "spot_BTCUSDT-1m-2020-01-01.zip": "daily/klines/BTCUSDT/1m/BTCUSDT-1m-2020-01-01",
        "spot_BTCUSDT-1m-2020-01-02.zip": "daily/klines/BTCUSDT/1m/BTCUSDT-1m-2020-01-02",
        "spot_ETHUSDT-1m-2022-08-14.zip": "daily/klines/ETHUSDT/1m/ETHUSDT-1m-2022-08-14",
        "spot_BTCUSDT-1h-2022-09-07.zip": "daily/klines/BTCUSDT/1h/BTCUSDT-1h-2022-09-07",
        "spot_BTCUSDT-1h-2021-02.csv": "monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2021-02",
        "spot_BTCUSDT-1h-2021-03.csv": "monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2021-03",
        "spot_BTCUSDT-1h-2021-12.csv": "monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2021-12",
        "spot_BTCUSDT-1m-2025-07-13_us.csv": "daily/klines/BTCUSDT/1m/BTCUSDT-1m-2025-07-13",
        "spot_SOLUSDT-1m-2025-07-13_us.csv": "daily/klines/SOLUSDT/1m/SOLUSDT-1m-2025-07-13",
        "spot_ADABTC-1m-2021-11-27_first10rows.csv": "daily/klines/ADABTC/1m/ADABTC-1m-2021-11-27",
    },
    "trades-and-aggtrades": {
        "spot_aggTrades-vision_FXSUSDT_2023-10-29_5rows.csv": "daily/aggTrades/FXSUSDT/FXSUSDT-aggTrades-2023-10-29",
    },
}


async def test_recorded_days_are_served_as_far_as_they_were_recorded(tmp_path: Path) -> None:
    sources = {path: market_data(folder, name) for folder, files in RECORDED.items() for name, path in files.items()}
    for path, source in sources.items():
        shutil.copyfile(source, tmp_path / f"{path.rpartition('/')[2]}{source.suffix}")
    async with peer(ExchangeConfig(replay=tmp_path), ms("2026-01-01")) as exchange:
        for path, source in sources.items():
            content = next(zipfile.Path(source).iterdir()) if source.suffix == ".zip" else source
            recorded = [line.split(",") for line in content.read_text().split()]
            assert await unpacked(exchange, f"data/spot/{path}.zip") == recorded
        listed = [key for key in await keys(exchange, prefix="data/spot/daily/") if key.endswith(".zip")]
        assert {f"data/spot/{path}.zip" for path in sources if path.startswith("daily")} <= {*listed}
        assert len([key for key in listed if "/aggTrades/" in key]) == 1


async def test_a_recorded_zip_is_served_with_its_own_bytes_and_its_own_checksum() -> None:
    folder = market_data("klines-vision-csv")
    zips = {name: path for name, path in RECORDED[folder.name].items() if name.endswith(".zip")}
    assert len(zips) == 4
    async with peer(ExchangeConfig(replay=folder), ms("2026-01-01")) as exchange:
        for name, path in zips.items():
            recorded, beside = (folder / name).read_bytes(), folder / f"{name}.CHECKSUM"
            answer = await exchange.get(f"/data/spot/{path}.zip")
            assert answer.body == recorded
            described = await exchange.send("HEAD", f"/data/spot/{path}.zip")
            assert described.headers["Content-Length"] == str(len(recorded))
            line = f"{hashlib.sha256(recorded).hexdigest()}  {path.rpartition('/')[2]}.zip\n".encode()
            checksum = (await exchange.get(f"/data/spot/{path}.zip.CHECKSUM")).body
            assert checksum == (beside.read_bytes() if beside.exists() else line)
            listed = await page(exchange, prefix=f"data/spot/{path}.zip")
            assert texts(listed, "Contents/Size") == [str(len(recorded)), str(len(checksum))]
            assert texts(listed, "Contents/ETag")[0] == answer.headers["ETag"] == described.headers["ETag"]


async def test_a_fault_in_a_recorded_zip_is_in_one_that_is_made_of_its_rows() -> None:
    path = f"data/spot/{RECORDED['klines-vision-csv']['spot_BTCUSDT-1m-2020-01-01.zip']}.zip"
    async with peer(ExchangeConfig(replay=market_data("klines-vision-csv")), ms("2026-01-01")) as exchange:
        before = (await exchange.get(f"/{path}")).headers["ETag"]
        fault = "archive-rows:kind=skipped,rows=1,file=*1m-2020-01-01*"
        await exchange.send("POST", "/control/faults", {"fault": fault})
        assert len(await unpacked(exchange, path)) == 1439
        assert (await exchange.get(f"/{path}")).headers["ETag"] != before
