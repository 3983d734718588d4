"""Commands on `queue-control` and signals are obeyed, or counted and passed over."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import msgspec
import pytest

from streamforge_utils.model.messages import Command, encode_command
from streamforge_utils.ports.bus import Message, Received
from streamforge_utils.runtime.life.command_listener import CommandListener
from streamforge_utils.runtime.life.worker_definition import Use
from streamforge_utils.runtime.live.handover import Handover
from streamforge_utils.runtime.telemetry.telemetry import Identity
from tests.doubles.instruments import instruments
from tests.doubles.manualclock import ManualClock
from tests.limits import LIMIT_S
from tests.runtime.rig import CONTROL, EVENTS, Ctx, Rig, forever, last, markers, nothing, until, words, worker


async def test_stop_by_command_is_interrupted_with_exit_code_0(rig: Rig) -> None:
    running = asyncio.create_task(rig.live(worker(forever, Use.OUTPUT)))
    await rig.until_event("started")
    await rig.command("stop", target="dummy")
    assert await running == 0
    word, progress = last(events := await rig.events())
    assert words(events) == ["started", "interrupted"]
    assert (word.message, progress.exit_code, word.error_message) == ("stopped by command", 0, None)
    assert [m.reason for m in await markers(rig)] == ["interrupted"]


@pytest.mark.parametrize("command_too", [False, True])
async def test_stop_by_signal_has_exit_code_1_unless_a_command_asked_too(rig: Rig, command_too: bool) -> None:
    supervisor = rig.supervisor(worker(forever))
    running = asyncio.create_task(supervisor.run())
    await rig.until_event("started")
    if command_too:
        supervisor.stop.by_command()
    assert supervisor.stop.by_signal(signal.SIGTERM)
    assert not supervisor.stop.by_signal(signal.SIGTERM)
    assert await running == (0 if command_too else 1)
    assert words(await rig.events()) == ["started", "interrupted"]


async def test_a_worker_that_hears_no_manager_ends_by_itself_and_is_worth_another_attempt(rig: Rig) -> None:
    rig.environment["STREAMFORGE_ORPHAN_SECONDS"] = "0.3"
    supervisor = rig.supervisor(worker(forever))
    assert await asyncio.wait_for(supervisor.run(), LIMIT_S) == 1
    last = (await rig.events())[-1]
    assert last.event == "interrupted"
    assert "no command was heard for" in last.message


async def test_a_worker_that_is_pinged_goes_on(tmp_path: Path) -> None:
    clock = ManualClock()
    rig = Rig(tmp_path, clock)
    await rig.prepare()
    rig.environment["STREAMFORGE_ORPHAN_SECONDS"] = "10"
    supervisor = rig.supervisor(worker(forever))
    running = asyncio.create_task(supervisor.run())
    await rig.until_event("started")
    for number in (1, 2, 3, 4):
        await rig.command("ping", queue_id="*")
        await rig.until_event("pong", number)
        clock.advance(6)  # longer than the limit in all, but not between two
        await clock.sleeping(2)  # heartbeats, and the look for the owner, which found one
    assert not running.done()
    await rig.command("stop")
    assert await running == 0
    await rig.close()


@pytest.mark.parametrize("fields", [{}, {"queue_id": "*"}, {"target": "dummy"}, {"telemetry_id": "dummy__abc123"}])
async def test_a_stop_sent_after_the_launch_but_before_the_worker_was_up_is_obeyed(
    rig: Rig, fields: dict[str, str]
) -> None:
    # Its launch time is another machine's, whose clock is 3 s ahead.
    rig.environment["STREAMFORGE_LAUNCHED_AT"] = str(rig.clock.now_ms() / 1000 + 3)
    await rig.command("stop", **fields)
    assert await rig.live(worker(forever)) == 0
    assert words(await rig.events()) == ["started", "interrupted"]
    # One of long before the launch is history.
    rig.environment["STREAMFORGE_LAUNCHED_AT"] = str(rig.clock.now_ms() / 1000 + 5.5)
    assert await rig.live(worker(nothing)) == 0
    assert words(await rig.events())[2:] == ["started", "finished"]


async def test_commands_that_are_foreign_unknown_or_no_commands_change_nothing(rig: Rig) -> None:
    await rig.send(
        CONTROL,
        [
            Message(None, b"x" * 1_000_000),
            Message(b"k", b'{"command": 7}'),
            Message(b"k", b"\xff\xfe"),
            Message(b"k", b""),
        ],
    )
    await rig.command("stop", queue_id="wf-other-api_candles_1m-20240801-zzzzzz")
    await rig.command("stop", target="arango-candles")
    await rig.command("stop", telemetry_id="dummy__zzzzzz")
    await rig.command("stop", attempt=2)
    await rig.command("start")
    await rig.command("dance")
    await rig.command("budget", payload={"weight_per_minute": "many"})
    await rig.command("budget")
    await rig.command("ping", sent_at=5.0)

    async def run(ctx: Ctx) -> None:
        await rig.until_event("pong")

    supervisor = rig.supervisor(worker(run))
    assert await supervisor.run() == 0
    assert words(await rig.events()) == ["started", "finished"]
    counted = supervisor._metrics.text().decode()
    for kind, number in {"invalid": 6, "foreign": 4, "unknown": 1, "start": 1, "budget": 2, "ping": 1}.items():
        assert f'streamforge_commands_total{{command="{kind}",target="dummy"}} {number}.0' in counted


async def test_a_pong_carries_the_ping_s_time(rig: Rig) -> None:
    await rig.command("ping", sent_at=1234.5, timestamp=None)
    await rig.command("ping", timestamp=99.25)

    async def run(ctx: Ctx) -> None:
        await rig.until_event("pong", 2)

    await rig.live(worker(run))
    pongs = [msgspec.json.decode(m.value) for m in await rig.read(EVENTS) if b'"pong"' in m.value]
    assert [pong["ping_ts"] for pong in pongs] == [1234.5, 99.25]
    for pong in pongs:
        assert pong["ponged_at"] == pytest.approx(rig.clock.now_ms() / 1000, abs=30)
        assert "status" not in pong
        assert not pong.get("finished")


async def test_the_progress_of_a_loader_tells_the_weight_that_it_was_launched_with(rig: Rig) -> None:
    told: list[int | None] = []

    async def run(ctx: Ctx) -> None:
        told.append(ctx.progress.snapshot().weight_per_minute)

    assert await rig.live(worker(run, Use.EXCHANGE)) == 0
    assert await rig.live(worker(run)) == 0
    assert told == [1200, None]


async def test_a_budget_reaches_the_exchange_whenever_it_comes(rig: Rig) -> None:
    await rig.command("budget", payload={"weight_per_minute": 300})

    async def run(ctx: Ctx) -> None:
        assert ctx.exchange is rig.exchange
        await until(lambda: rig.exchange.weight_limits[-1:] == [300])
        assert ctx.weight_per_minute == 300
        await rig.command("budget", payload={"weight_per_minute": 50})
        await until(lambda: rig.exchange.weight_limits[-1:] == [50])
        assert ctx.progress.snapshot().weight_per_minute == 50
        assert ctx.weight_per_minute == 50

    assert await rig.live(worker(run, Use.EXCHANGE)) == 0
    assert rig.exchange.closed


def test_a_share_of_connections_comes_with_the_weight_or_alone() -> None:
    told: list[tuple[str, int]] = []
    identity = Identity(queue_id="q", producer="p", target="dummy", symbol="S", type="t", attempt=1)
    listener = CommandListener(
        None,  # type: ignore[arg-type]
        identity,
        instruments(ManualClock()),
        stop=lambda *_: None,
        ping=lambda _: None,
        budget=lambda weight: told.append(("weight", weight)),
        connects=lambda connects: told.append(("connects", connects)),
        own={},
        handover=Handover(),
    )
    weighed = {"connects": 2, "weight_per_minute": 3}
    for payload in (weighed, {"connects": 0}, {"connects": True}, {"connects": -1, "weight_per_minute": 4}):
        sent = Command(command="budget", queue_id="q", payload=payload)
        listener.obey(Received("t", 0, 0, None, encode_command(sent), 0))
    assert told == [("connects", 2), ("weight", 3), ("connects", 0), ("weight", 4)]
