"""The command `events`: what changed, or all that was said."""

from __future__ import annotations

import pytest

from streamforge.cli.commands.workflow_commands import events
from streamforge.manager.engine.document import Status
from streamforge.manager.use_cases import StartRequest
from tests.cli.support import serving
from tests.manager.api.support import event
from tests.manager.memory_service import MemoryService
from tests.manager.support import replace

LINES = pytest.CaptureFixture[str]


async def test_what_changed_is_shown_and_with_all_each_report(capsys: LINES) -> None:
    service = await MemoryService.made()
    workflow = (await service.start(StartRequest(symbol="BTCUSDT", type="api_candles_1m", time_range="-1d"))).workflow
    unloaded = {"unloaded": [{"range": "2024-08-01", "reason": "damaged"}]}
    for one in (
        event(workflow, "started", message="begins"),
        event(workflow, records_written=1),
        event(workflow, records_written=2, extra={"waiting": "no disk"}),
        event(workflow, records_written=3, extra={"waiting": "no disk"}),
        event(workflow, records_written=4),
        event(workflow, records_written=5, extra={"waiting": "no disk"}),
        event(workflow, records_written=6, extra={"waiting": "the store"}),
        event(workflow, records_written=7, extra=unloaded),
        event(workflow, "pong", status=None),
        event(workflow, "finished", records_written=8, finished=True),
    ):
        await service.event(one)
    await service.put(replace(workflow, waiting_for="the exchange: no route; next try at 2024-08-02"))
    async with serving(service) as where:
        capsys.readouterr()  # what the manager logged by now
        assert await events(workflow.queue_id, where) == 0
        out, err = capsys.readouterr()
        assert await events(workflow.queue_id, where, every=True) == 0
        assert len(capsys.readouterr().out.splitlines()) == 10
        assert await events(workflow.queue_id, where, as_json=True) == 0
        assert len(capsys.readouterr().out.splitlines()) == 10
        await service.end(workflow.queue_id, Status.ERROR)
        capsys.readouterr()
        assert await events(workflow.queue_id, where) == 0
        assert capsys.readouterr().err == "", "it waits no more"
    told = [line.partition("__")[2].partition(": ")[2] for line in out.splitlines()]
    assert told == [
        "begins", "2 records, waits for no disk", "6 records, waits for the store", "7 records", "8 records",
    ]  # fmt: skip
    assert err == f"{workflow.queue_id} waits for the exchange: no route; next try at 2024-08-02\n"
