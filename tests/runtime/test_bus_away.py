"""A bus that is away, slow or gone: the worker waits for it, or ends with an exit code that says so."""

from __future__ import annotations

import asyncio

import pytest

from streamforge_utils.model.errors import PermanentError
from streamforge_utils.runtime import supervisor as life
from streamforge_utils.runtime import telemetry
from tests.doubles.faulty import always, times
from tests.runtime.rig import EVENTS, Ctx, Rig, last, nothing, until, words, worker


async def test_a_bus_that_is_away_for_a_moment_costs_nothing(rig: Rig) -> None:
    rig.bus.send[EVENTS] = times(3, "not now")
    rig.bus.connect = times(2, "not yet")
    rig.bus.poll = times(2, "not now")
    await rig.command("ping", sent_at=1.0)

    async def run(ctx: Ctx) -> None:
        await rig.until_event("pong")

    assert await rig.live(worker(run)) == 0
    assert words(await rig.events()) == ["started", "finished"]


async def test_a_bus_that_never_answers_ends_the_worker_with_exit_code_1(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry, "PATIENCE_S", 0.1)
    monkeypatch.setattr(life, "TERMINAL_PATIENCE_S", 0.3)
    rig.bus.send[EVENTS] = always("the bus is away")
    assert await rig.live(worker(nothing)) == 1
    assert await rig.events() == []
    assert "the terminal event could not be published" in rig.logs.getvalue()


async def test_a_bus_that_goes_away_ends_the_work(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "PATIENCE_S", 0.1)
    monkeypatch.setattr(life, "TERMINAL_PATIENCE_S", 0.3)
    cancelled = asyncio.Event()

    async def run(ctx: Ctx) -> None:
        rig.bus.send[EVENTS] = always("the bus is gone")
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    assert await rig.live(worker(run)) == 1
    assert cancelled.is_set()
    assert words(await rig.events()) == ["started"]


async def test_a_send_that_never_returns_does_not_keep_the_worker(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "TERMINAL_PATIENCE_S", 0.3)

    async def run(ctx: Ctx) -> None:
        rig.bus.held[EVENTS] = asyncio.Event()
        await until(lambda: rig.bus.waiting > 0)

    assert await rig.live(worker(run)) == 1


async def test_commands_that_can_no_longer_be_read_end_the_worker(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def poll() -> Exception | None:
        return PermanentError("the topic queue-control was deleted")

    async def run(ctx: Ctx) -> None:
        rig.bus.poll = poll
        await rig.command("ping")
        await asyncio.Event().wait()

    assert await rig.live(worker(run)) == 1
    word, _ = last(events := await rig.events())
    assert words(events) == ["started", "error"]
    assert word.error_message == "the topic queue-control was deleted"
