"""A load that joins a workflow which ends earlier goes on by itself, until all that was asked for is loaded."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from streamforge.cli.errors import CliError
from streamforge.cli.loading import Request, load
from streamforge.cli.session import Where
from streamforge.manager.api.app import create_app
from streamforge.manager.api.server import serve
from streamforge.manager.service import Started, StartRequest
from streamforge.manager.workflow import Status
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.timeranges import TimeRange
from tests.doubles.service import NOW_MS, ServiceDouble

HOUR_MS = 3_600_000
DAY = Request(symbol="BTCUSDT", type="api_candles_1h", time_range="-1d")
ASKED = TimeRange(NOW_MS - 24 * HOUR_MS, NOW_MS)
ASKED_FOR = "2024-08-01T12:00Z:2024-08-02T12:00Z"
LEFT_OUT = "2024-08-02T11:00Z to 2024-08-02T12:00Z"


class Joining(ServiceDouble):
    """The first `joined` requests join a workflow that ends an hour before what is asked for; every workflow ends at
    once, the joined ones as `ends`."""

    def __init__(self, joined: int = 1, ends: Status = Status.FINISHED) -> None:
        super().__init__()
        self.left, self.ends = joined, ends
        self.requests: list[StartRequest] = []

    async def start(self, request: StartRequest, *, idempotency_key: str | None = None) -> Started:
        self.requests.append(request)
        self.asked, self.joins = None, None
        self.left -= 1
        if self.left >= 0:
            self.now_ms -= HOUR_MS
            self.joins = (await super().start(DAY_OF_IT)).workflow.queue_id
            self.now_ms, self.asked = NOW_MS, ASKED
        started = await super().start(request, idempotency_key=idempotency_key)
        one = started.workflow
        stored = Segment(
            start_ms=one.span.start_ms, end_ms=one.span.end_ms, verdict=Verdict.STORED, collection=one.collection
        )
        self.known[one.series] = [stored]
        if self.ends is not Status.RUNNING:
            self.end(one.queue_id, self.ends if started.joined else Status.FINISHED)
        return started


DAY_OF_IT = StartRequest(symbol="BTCUSDT", type="api_candles_1h", time_range="-1d")


@asynccontextmanager
async def manager(service: ServiceDouble) -> AsyncIterator[Where]:
    server = await serve(create_app(service), port=0)
    try:
        yield Where(server=server.url)
    finally:
        await server.close()


async def loaded(service: ServiceDouble, **how: Any) -> tuple[int, Where]:
    async with manager(service) as where:
        return await load(DAY, where, **how), where


async def test_what_the_joined_workflow_left_out_is_loaded_by_a_second_one(capsys: pytest.CaptureFixture[str]) -> None:
    service = Joining()
    code, _ = await loaded(service, as_json=True)
    out, err = capsys.readouterr()
    first, second = service.workflows
    assert (code, [one.time_range for one in service.requests]) == (0, ["-1d", ASKED_FOR])
    assert f"{first} has finished; what it left out, {LEFT_OUT}, is loaded now\n" in err
    assert err.index("is loaded now") < err.index(f"{second}: BTCUSDT api_candles_1h 2024-08-01T12:00Z to")
    told = json.loads(out)
    assert (told["queue_id"], told["status"], told["joined"], told["asked_range"]) == (second, "finished", False, None)
    assert (told["time_range"]["start_ms"], told["time_range"]["end_ms"]) == (ASKED.start_ms, ASKED.end_ms)


async def test_one_that_failed_is_told_and_nothing_is_loaded_behind_it(capsys: pytest.CaptureFixture[str]) -> None:
    service = Joining(ends=Status.INTERRUPTED)
    with pytest.raises(CliError, match="ended as interrupted, somebody else stopped it"):
        await loaded(service, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert (len(service.requests), told["joined"], told["asked_range"]) == (1, True, ASKED_FOR)


async def test_who_joins_again_and_again_is_told_what_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    service = Joining(joined=9)
    with pytest.raises(CliError) as error:
        await loaded(service)
    last = list(service.workflows)[-1]
    assert str(error.value).startswith(f"{last} has finished, without {LEFT_OUT}: ")
    assert f"by `streamforge load BTCUSDT api_candles_1h {ASKED_FOR} --server " in str(error.value)
    assert (len(service.requests), error.value.exit_code) == (4, 1)


@pytest.mark.parametrize("as_json", [False, True])
async def test_detached_it_says_what_is_left_out_and_the_command_that_loads_it(
    capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    service = Joining(ends=Status.RUNNING)
    code, where = await loaded(service, detach=True, as_json=as_json)
    out, err = capsys.readouterr()
    [first] = service.workflows
    command = f"streamforge load BTCUSDT api_candles_1h {ASKED_FOR} --server {where.server}"
    assert code == 0
    assert (
        f"{first} leaves out a part of what was asked for: {LEFT_OUT} is loaded, once it has ended, by `{command}`\n"
        in err
    )
    if not as_json:
        assert out == f"{first}\n"
        return
    told = json.loads(out)
    assert (told["joined"], told["behind_seconds"], told["asked_range"]) == (True, 3600.0, ASKED_FOR)
    assert told["time_range"]["end_ms"] == NOW_MS - HOUR_MS
