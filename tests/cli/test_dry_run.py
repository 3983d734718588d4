"""`load --dry-run`: what it prints, and that nothing is started."""

from __future__ import annotations

import json

import pytest

from streamforge.cli.commands.load_commands import load
from tests.cli.support import HOUR_MS, START_MS, serving
from tests.manager.memory_service import MemoryService


async def test_the_plan_is_printed_and_nothing_is_started(capsys: pytest.CaptureFixture[str]) -> None:
    service = await MemoryService.made()
    service.exchange.opens = list(range(START_MS, START_MS + 36 * HOUR_MS, 60_000))
    async with serving(service) as where:
        words = ("BTCUSDT", "api_candles_1m", "2024-08-01")
        assert await load(*words, where=where, dry_run=True) == 0
        said = capsys.readouterr()
        assert "it was not stored" in said.out
        assert "1,440 records to load; 2 requests (weight 4); about 2.1 s" in said.err
        assert "nothing was started" in said.err
        assert await load(*words, where=where, dry_run=True, as_json=True) == 0
        assert json.loads(capsys.readouterr().out)["records_expected"] == 1440
    assert await service.ids() == []
