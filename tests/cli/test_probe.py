"""Commands and the answers to them: which event answers which command, on the real embedded bus."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from streamforge.cli.probe import PONG, Answer, Missing, Probe, Request, Sending, percentile
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.messages import Command, Event, decode_command, encode_event
from streamforge_utils.ports.bus import Message, Producer
from streamforge_utils.ports.clock import SystemClock
from tests.limits import LIMIT_S
from tests.runtime.rig import CONTROL, EVENTS, QUEUE, Rig

Answers = Callable[[Command], Sequence[Event]]


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


def said(kind: Any, **fields: Any) -> Event:
    return Event(**({"event": kind, "queue_id": QUEUE, "producer": "a__abc123", "target": "a"} | fields))


def pong(command: Command, **fields: Any) -> Event:
    return said(PONG, **({"ping_ts": command.sent} | fields))


class Probed:
    """A probe of the rig, and what it has reported."""

    def __init__(self, rig: Rig, answers: Answers, **request: Any) -> None:
        usual: dict[str, Any] = {"queue_id": QUEUE, "command": "ping", "expect": PONG, "interval_s": 0.0}
        bus: Any = Answering(rig, answers)
        self.reports: list[object] = []
        self.probe = Probe(
            Request(**(usual | request)),
            bus,
            self.reports.append,
            control_topic=CONTROL,
            events_topic=EVENTS,
            clock=SystemClock(),
        )

    async def run(self) -> bool:
        async with asyncio.timeout(LIMIT_S):
            return await self.probe.run()

    @property
    def answers(self) -> list[tuple[int, str]]:
        """Number and event of each answer."""
        return [(one.number, one.event.event) for one in self.reports if isinstance(one, Answer)]

    @property
    def lacking(self) -> list[int]:
        return [one.number for one in self.reports if isinstance(one, Missing)]


async def test_no_pong_is_missed_however_early_it_comes(rig: Rig) -> None:
    probed = Probed(rig, lambda command: [pong(command)], repeat=5)
    assert await probed.run()
    probe = probed.probe
    assert (probe.sent, probe.answered, len(probe.rtts_s)) == (5, 5, 5)
    assert probed.answers == [(number, PONG) for number in range(1, 6)]
    commands = [one.command for one in probed.reports if isinstance(one, Sending)]
    assert len({command.sent_at for command in commands}) == 5
    assert all(command.sent_at == command.timestamp for command in commands)


@pytest.mark.e2e
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

    probed = Probed(rig, answers, target="a", timeout_s=3)
    assert not await probed.run()
    assert (probed.probe.answered, probed.answers, probed.lacking) == (0, [], [1])


@pytest.mark.e2e
async def test_a_pong_that_is_missing_or_late_fails_and_two_to_one_ping_count_once(rig: Rig) -> None:
    seen: list[Command] = []

    def answers(command: Command) -> list[Event]:
        seen.append(command)
        # The first comes after its time, the third never.
        return [[], [pong(seen[0]), pong(command)], [], [pong(command), pong(command, target="b")]][len(seen) - 1]

    probed = Probed(rig, answers, repeat=4, timeout_s=3)
    assert not await probed.run()
    assert (probed.probe.sent, probed.probe.answered, probed.lacking) == (4, 2, [1, 3])
    assert [number for number, _ in probed.answers][:3] == [1, 2, 4]


@pytest.mark.e2e
async def test_a_stop_is_answered_by_the_event_that_is_expected(rig: Rig) -> None:
    await rig.send(EVENTS, [Message(None, encode_event(said("interrupted")))])  # of before
    stop: dict[str, Any] = {"command": "stop", "expect": "interrupted"}
    probed = Probed(rig, lambda _: [said("loading"), said("interrupted")], **stop)
    assert await probed.run()
    assert probed.answers == [(1, "interrupted")]
    assert not await Probed(rig, lambda _: [said("loading")], timeout_s=3, **stop).run()


async def test_rubbish_among_the_events_disturbs_nothing(rig: Rig) -> None:
    probed = Probed(rig, lambda command: [pong(command)], queue_id="*", timeout_s=LIMIT_S)
    await probed.probe.connect()
    await rig.send(EVENTS, [Message(None, b"x" * 500_000), Message(None, b"\xff"), Message(b"k", b'{"event": 1}')])
    assert await probed.run()


async def test_a_command_carries_target_and_payload(rig: Rig) -> None:
    more: dict[str, Any] = {"expect": None, "target": "dummy-service", "payload": {"seconds": 3}}
    assert await Probed(rig, lambda _: [], command="fail-after", **more).run()
    (message,) = await rig.read(CONTROL)
    command = decode_command(message.value)
    assert message.key == QUEUE.encode()
    assert (command.command, command.target, command.payload) == ("fail-after", "dummy-service", {"seconds": 3})


async def test_a_bus_that_is_silent_is_not_waited_for_for_ever(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamforge.cli.probe.CONNECT_S", 0.2)

    async def silent(_: Answering) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(Answering, "topics", silent, raising=False)
    with pytest.raises(RetryableError, match=r"did not answer within 0\.2 s"):
        await Probed(rig, lambda _: [], timeout_s=0.1).run()


def test_percentiles_are_among_the_values() -> None:
    values = [float(n) for n in range(1, 101)]
    assert [percentile(values, percent) for percent in (50, 99, 100)] == [50.0, 99.0, 100.0]
    assert percentile([7.0], 50) == percentile([7.0], 99) == 7.0
    assert percentile([3.0, 1.0, 2.0], 99) == 3.0
