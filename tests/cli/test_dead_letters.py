"""dlq: what could not be stored is listed with its reason, and read again on request."""

from __future__ import annotations

import json

import pytest

from streamforge.cli.commands.control_commands import dlq_list
from streamforge.cli.commands.load_commands import dlq_replay
from streamforge.manager.service import DeadLetter, StartRequest
from streamforge.manager.workflow import Plan, Status
from tests.cli.support import serving
from tests.manager.memory_service import NOW_MS, MemoryService
from tests.manager.support import replace

LETTER = DeadLetter(
    topic="t",
    partition=0,
    offset=17,
    attempt=2,
    reason="candle BTCUSDT_1m_1: a number is not finite",
    time_ms=1_722_470_400_000,
    key=b"BTCUSDT_1m_1",
    value=b'{"open": "nan", "padding": "' + b"x" * 100 + b'"}',
)


async def ended(service: MemoryService) -> str:
    workflow, *_ = await service.start(StartRequest(symbol="BTCUSDT", type="api_candles_1m", time_range="2024-08-01"))
    plan = Plan(exchange_now_ms=NOW_MS)
    await service.put(replace(workflow, status=Status.FINISHED, ended_ms=NOW_MS, plan=plan))
    await service.refuse(workflow, [LETTER])
    return workflow.queue_id


async def test_letters_are_listed_with_their_reason(capsys: pytest.CaptureFixture[str]) -> None:
    service = await MemoryService.made()
    queue_id = await ended(service)
    async with serving(service) as where:
        assert await dlq_list(queue_id, where, limit=10, as_json=False) == 0
        out, err = capsys.readouterr()
        assert await dlq_list(queue_id, where, limit=10, as_json=True) == 0
        found = json.loads(capsys.readouterr().out)
    row = out.splitlines()[2]
    assert row.split()[:2] == ["17", "2"]
    assert "candle BTCUSDT_1m_1: a number is not finite" in row
    assert '{"open": "nan"' in row
    assert "x" * 100 not in out
    assert err == f"1 dead letter; once the cause is gone: streamforge dlq replay {queue_id} --server {where.server}\n"
    assert found["dead_letters"][0]["value"] == LETTER.value.decode()


async def test_a_replay_can_be_left_to_the_manager(capsys: pytest.CaptureFixture[str]) -> None:
    service = await MemoryService.made()
    queue_id = await ended(service)
    async with serving(service) as where:
        assert await dlq_replay(queue_id, where, detach=True) == 0
    assert capsys.readouterr().out == f"{queue_id}\n"
    assert (await service.get(queue_id)).status is Status.PENDING
