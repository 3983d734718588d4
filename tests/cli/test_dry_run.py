"""`load --dry-run`: what it prints, and that nothing is started."""

from __future__ import annotations

import json

import pytest

from streamforge.cli.commands.load_commands import load
from streamforge_utils.model.kinds.registry import series_of
from streamforge_utils.ports.exchange import SymbolInfo
from tests.cli.support import HOUR_MS, START_MS, TYPE, serving
from tests.manager.execution.world import stored
from tests.manager.memory_service import MemoryService


async def test_the_plan_is_printed_and_nothing_is_started(capsys: pytest.CaptureFixture[str]) -> None:
    service = await MemoryService.made()
    service.exchange.opens = list(range(START_MS, START_MS + 36 * HOUR_MS, 60_000))
    async with serving(service) as where:
        words = ("BTCUSDT", "api_candles_1m", "2024-08-01")
        assert await load(*words, where=where, dry_run=True) == 0
        said = capsys.readouterr()
        assert "by requests alone: no archive is asked" in said.out
        assert "1,440 records to load; 2 requests (weight 4); about 2.1 s" in said.err
        assert "nothing was started" in said.err
        assert await load(*words, where=where, dry_run=True, as_json=True) == 0
        assert json.loads(capsys.readouterr().out)["records_expected"] == 1440
    assert await service.ids() == []


async def test_the_plan_of_many_symbols_is_one_table_and_its_sums(capsys: pytest.CaptureFixture[str]) -> None:
    service = await MemoryService.made()
    service.exchange.opens = list(range(START_MS, START_MS + 36 * HOUR_MS, 60_000))
    names = {"BTCUSDT": "TRADING", "ETHUSDT": "BREAK"}
    service.exchange.listed = [SymbolInfo(symbol=name, status=status) for name, status in names.items()]
    await service.know(series_of("ETHUSDT", TYPE), [stored(0, 720)])
    async with serving(service) as where:
        assert await load("*USDT", TYPE, "2024-08-01", where=where, dry_run=True) == 0
        said = capsys.readouterr()
        assert [line.split()[:4] for line in said.out.splitlines()[2:]] == [
            ["BTCUSDT", "rest", "1,440", "0"],
            ["ETHUSDT", "rest", "720", "720"],
        ]
        assert "2 symbols, 1 delisted; api_candles_1m 2024-08-01: 2,160 records to load, 720 are there" in said.err
        assert "nothing was started" in said.err
        assert await load("*USDT", TYPE, since="last", where=where, dry_run=True, as_json=True) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["requested"], told["refused"], told["each"][0]["symbol"]) == ("since last", 1, "BTCUSDT")
    assert await service.ids() == []
