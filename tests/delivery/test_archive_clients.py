"""Other projects' downloaders of Binance's archive take from the test exchange what its oracle has.

They need the environment of `make bench-others`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from tests.cleanenv import environment
from tests.delivery.archive_clients import SYMBOL
from tests.exchange.conftest import DAY, Peer, ms, peer
from tests.limits import LIMIT_S

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / "build" / "bench-others" / "bin" / "python"
LISTED = "2024-03-15"


async def downloaded(package: str, exchange: Peer, folder: Path) -> dict[str, list[list[str]]]:
    """The cells of the files that a package leaves in a folder, by their names."""
    assert PYTHON.exists(), "the packages are missing: make bench-others"
    script = str(Path(__file__).with_name("archive_clients.py"))
    process = await asyncio.create_subprocess_exec(
        *(str(PYTHON), script, package, exchange.exchange.url, str(folder)),
        cwd=folder,
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            told, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, told.decode()
    return cells_in(folder)


def cells_in(folder: Path) -> dict[str, list[list[str]]]:
    return {path.name: [line.split(",") for line in path.read_text().splitlines()] for path in folder.rglob("*.csv")}


async def expected(exchange: Peer, endpoint: str, start_ms: int, end_ms: int, **query: str) -> list[list[str]]:
    bounds = {"startTime": start_ms, "endTime": end_ms}
    answer = await exchange.get(f"/oracle/{endpoint}", symbol=SYMBOL, **bounds, **query)
    rows: list[Any] = msgspec.json.decode(answer.body)
    return [[str(cell) for cell in (row.values() if isinstance(row, dict) else row)] for row in rows]


async def test_binance_historical_data_downloads_a_month_and_days(tmp_path: Path) -> None:
    async with peer(now_ms=ms("2024-04-20")) as exchange:
        found = await downloaded("binance-historical-data", exchange, tmp_path)
        for name, start, end in (
            ("2024-03", LISTED, "2024-04-01"),
            ("2024-04-01", "2024-04-01", "2024-04-02"),
            ("2024-04-02", "2024-04-02", "2024-04-03"),
        ):
            rows = found.pop(f"{SYMBOL}-1h-{name}.csv")
            assert rows == await expected(exchange, "klines", ms(start), ms(end), interval="1h")
        assert found == {}


async def test_binance_bulk_downloader_downloads_every_day(tmp_path: Path) -> None:
    async with peer(now_ms=ms("2024-03-19T12:00")) as exchange:
        found = await downloaded("binance-bulk-downloader", exchange, tmp_path)
        for day in range(15, 19):
            start_ms = ms(f"2024-03-{day}")
            rows = found.pop(f"{SYMBOL}-aggTrades-2024-03-{day}.csv")
            assert rows == await expected(exchange, "aggTrades", start_ms, start_ms + DAY)
        assert found == {}
