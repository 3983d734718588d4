"""Commands and the answers to them: which event answers which command, on the real embedded bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from streamforge.cli.probe import PONG, Answer, Missing, Probe, Request, Sending, percentile
from streamforge_utils.model.commands import Command, decode_command
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.events import Event, encode_event
from streamforge_utils.ports.bus import Message, Producer
from streamforge_utils.ports.clock import SystemClock
from tests.limits import LIMIT_S
from tests.runtime.rig import CONTROL, EVENTS, QUEUE, Rig

Answers = Callable[[Command], Sequence[Event]]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path)
    await rig.prepare()
    yield rig
    await rig.close()


class Answering:
    """A bus on which every command is answered before `send` has returned: earlier than any worker could."""

    def __init__(self, rig: Rig, answers: Answers) -> None:
        self._rig = rig
        self._answers = answers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rig.seen, name)

    async def producer(self, *, bulk: bool = False) -> Producer:
        rig, answers = self._rig, self._answers

        class Quick:
            async def send(self, topic: str, messages: Sequence[Message], *, fleeting: bool = False) -> None:
                await rig.send(topic, messages)
                events = [event for message in messages for event in answers(decode_command(message.value))]
                await rig.send(EVENTS, [Message(QUEUE.encode(), encode_event(event)) for event in events])

            async def close(self) -> None:
                pass

        return Quick()


class Told:
    """A report that keeps what it is told."""

    def __init__(self) -> None:
        self.all: list[object] = []

    def __call__(self, one: object) -> None:
        self.all.append(one)

    @property
    def commands(self) -> list[Command]:
        return [one.command for one in self.all if isinstance(one, Sending)]

    @property
    def answers(self) -> list[tuple[int, Event]]:
        return [(one.number, one.event) for one in self.all if isinstance(one, Answer)]

    @property
    def lacking(self) -> list[int]:
        return [one.number for one in self.all if isinstance(one, Missing)]


def said(kind: Any, **fields: Any) -> Event:
    return Event(**({"event": kind, "queue_id": QUEUE, "producer": "a__abc123", "target": "a"} | fields))


def pong(command: Command, **fields: Any) -> Event:
    return said(PONG, **({"ping_ts": command.sent} | fields))


async def probed(rig: Rig, answers: Answers, **request: Any) -> tuple[bool, Probe, Told]:
    told = Told()
    usual: dict[str, Any] = {"queue_id": QUEUE, "command": "ping", "expect": PONG, "interval_s": 0.0}
    wanted = Request(**(usual | request))
    bus: Any = Answering(rig, answers)
    probe = Probe(wanted, bus, told, control_topic=CONTROL, events_topic=EVENTS, clock=SystemClock())
    async with asyncio.timeout(LIMIT_S):
        await probe.connect()
        complete = await probe.run()
    return complete, probe, told


async def test_no_pong_is_missed_however_early_it_comes(rig: Rig) -> None:
    complete, probe, told = await probed(rig, lambda command: [pong(command)], repeat=5)
    assert complete
    assert (probe.result.sent, probe.result.answered, len(probe.result.rtts_s)) == (5, 5, 5)
    assert [number for number, _ in told.answers] == [1, 2, 3, 4, 5]
    assert len({command.sent_at for command in told.commands}) == 5
    assert all(command.sent_at == command.timestamp for command in told.commands)


@pytest.mark.parametrize(
    "wrong",
    [
        {"ping_ts": 1.0},
        {"ping_ts": None},
        {"queue_id": "wf-other-api_candles_1m-20240801-zzzzzz"},
        {"kind": "started"},
        {"target": "b"},
    ],
)
async def test_what_is_no_answer_is_none(rig: Rig, wrong: dict[str, Any]) -> None:
    def answers(command: Command) -> list[Event]:
        return [said(**({"kind": PONG, "ping_ts": command.sent} | wrong))]

    complete, probe, told = await probed(rig, answers, target="a", timeout_s=3)
    assert not complete
    assert (probe.result.answered, told.answers, told.lacking) == (0, [], [1])


async def test_one_missing_pong_is_enough_to_fail(rig: Rig) -> None:
    numbers = iter(range(1, 4))
    complete, probe, told = await probed(
        rig, lambda command: [pong(command)] if next(numbers) != 2 else [], repeat=3, timeout_s=3
    )
    assert not complete
    assert (probe.result.sent, probe.result.answered, told.lacking) == (3, 2, [2])


async def test_a_pong_that_comes_too_late_is_shown_and_does_not_count(rig: Rig) -> None:
    earlier: list[Command] = []

    def answers(command: Command) -> list[Event]:
        earlier.append(command)
        return [pong(earlier[0]), pong(command)] if len(earlier) == 2 else []

    complete, probe, told = await probed(rig, answers, repeat=2, timeout_s=3)
    assert not complete
    assert (probe.result.answered, told.lacking, [number for number, _ in told.answers]) == (1, [1], [1, 2])


async def test_two_workers_answer_one_ping(rig: Rig) -> None:
    complete, probe, told = await probed(rig, lambda command: [pong(command), pong(command, target="b")], repeat=1)
    assert complete
    assert probe.result.answered == 1
    assert 1 <= len(told.answers) <= 2


async def test_a_stop_is_answered_by_the_event_that_is_expected(rig: Rig) -> None:
    await rig.send(EVENTS, [Message(None, encode_event(said("interrupted")))])  # of before
    complete, _, told = await probed(
        rig, lambda _: [said("loading"), said("interrupted")], command="stop", expect="interrupted"
    )
    assert complete
    assert [event.event for _, event in told.answers] == ["interrupted"]
    complete, _, told = await probed(
        rig, lambda _: [said("loading")], command="stop", expect="interrupted", timeout_s=3
    )
    assert not complete


async def test_rubbish_among_the_events_disturbs_nothing(rig: Rig) -> None:
    bus: Any = Answering(rig, lambda command: [pong(command)])
    request = Request(queue_id="*", command="ping", expect=PONG, timeout_s=LIMIT_S)
    probe = Probe(request, bus, Told(), control_topic=CONTROL, events_topic=EVENTS, clock=SystemClock())
    await probe.connect()
    await rig.send(EVENTS, [Message(None, b"x" * 500_000), Message(None, b"\xff"), Message(b"k", b'{"event": 1}')])
    assert await probe.run()


async def test_a_command_carries_target_and_payload(rig: Rig) -> None:
    complete, _, _ = await probed(
        rig, lambda _: [], command="fail-after", expect=None, target="dummy-service", payload={"seconds": 3}
    )
    assert complete
    (message,) = await rig.read(CONTROL)
    command = decode_command(message.value)
    assert message.key == QUEUE.encode()
    assert (command.command, command.target, command.payload) == ("fail-after", "dummy-service", {"seconds": 3})


async def test_a_bus_that_is_silent_is_not_waited_for_for_ever(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamforge.cli.probe.CONNECT_S", 0.2)

    class Silent(Answering):
        async def topics(self) -> Sequence[str]:
            await asyncio.Event().wait()
            return []

    bus: Any = Silent(rig, lambda _: [])
    request = Request(queue_id=QUEUE, command="ping", timeout_s=0.1)
    probe = Probe(request, bus, Told(), control_topic=CONTROL, events_topic=EVENTS, clock=SystemClock())
    with pytest.raises(RetryableError, match=r"did not answer within 0\.2 s"):
        await probe.connect()


def test_percentiles_are_among_the_values() -> None:
    values = [float(n) for n in range(1, 101)]
    assert [percentile(values, percent) for percent in (50, 99, 100)] == [50.0, 99.0, 100.0]
    assert percentile([7.0], 50) == percentile([7.0], 99) == 7.0
    assert percentile([3.0, 1.0, 2.0], 99) == 3.0
