"""Members of a basket share connections to the streams, and each goes on as if it had its own."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.ports.stream import EndCause, StreamEnded
from streamforge_utils.runtime.live.shared_stream import HELD_BYTES, ConnectionPart, SharedStream
from tests.doubles.instruments import instruments
from tests.doubles.stream import ScriptedStream
from tests.doubles.virtualclock import VirtualClock
from tests.doubles.virtualloop import VirtualLoop


def message(stream: str, number: int) -> bytes:
    return b'{"stream":"%s","data":%d}' % (stream.encode(), number)


class Stage:
    """stream: what is below. Members are named by their only stream."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.clock = VirtualClock(loop, 0)
        self.stream = ScriptedStream(self.clock)
        self.shared = SharedStream(self.stream, self.clock, instruments(self.clock).log, draw=lambda: 1.0)

    async def joined(self, *names: str) -> list[ConnectionPart]:
        """A part of each of as many members, which connect at once."""
        members = [self.shared.member() for _ in names]
        return list(await asyncio.gather(*(m.connect([name]) for m, name in zip(members, names, strict=True))))


def play(act: Callable[[Stage], Awaitable[None]]) -> Stage:
    async def run() -> Stage:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        stage = Stage(loop)
        await act(stage)
        await stage.shared.close()
        assert not stage.stream.live
        return stage

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(run())


async def read(part: ConnectionPart) -> list[bytes]:
    return list((await part.read()).payloads)


def test_members_that_connect_at_once_get_one_connection_and_each_its_own_messages() -> None:
    async def act(stage: Stage) -> None:
        parts = await stage.joined("a", "b", "c")
        (one,) = stage.stream.connections
        assert sorted(one.streams) == ["a", "b", "c"]
        one.give(message("b", 1), message("a", 2), message("b", 3))
        assert await read(parts[0]) == [message("a", 2)]
        assert await read(parts[1]) == [message("b", 1), message("b", 3)]
        one.give(b'{"data":4,"stream":"c"}', message("nobody's", 5))
        assert await read(parts[2]) == [b'{"data":4,"stream":"c"}']
        assert [part.number for part in parts] == [1, 1, 1]

    play(act)


def test_what_many_ask_for_meanwhile_goes_out_in_one_request() -> None:
    async def act(stage: Stage) -> None:
        await stage.joined(*(f"s{number}" for number in range(100)))
        (one,) = stage.stream.connections
        assert len(one.streams) == 100
        assert len(one.asked) <= 2

    play(act)


def test_who_leaves_ends_no_other_and_the_last_one_ends_the_connection() -> None:
    async def act(stage: Stage) -> None:
        first, second = await stage.joined("a", "b")
        (one,) = stage.stream.connections
        await first.abort()
        await stage.clock.sleep(1)
        assert one.streams == ("b",)
        one.give(message("b", 1))
        assert await read(second) == [message("b", 1)]
        with pytest.raises(StreamEnded) as ended:
            await first.read()
        assert ended.value.cause is EndCause.ABORTED
        await second.abort()
        await stage.clock.sleep(1)
        assert one.aborted

    play(act)


def test_an_end_is_read_by_all_behind_what_came_before_and_they_meet_again_on_one_connection() -> None:
    async def act(stage: Stage) -> None:
        members = [stage.shared.member() for _ in range(3)]
        parts = [await member.connect([name]) for member, name in zip(members, "abc", strict=True)]
        one = stage.stream.connections[0]
        one.give(message("a", 1), message("b", 2), message("c", 3))
        one.end()
        for part, name, number in zip(parts, "abc", (1, 2, 3), strict=True):
            assert await read(part) == [message(name, number)]
            with pytest.raises(StreamEnded, match="connection 1 is closed"):
                await part.read()
        again = await asyncio.gather(*(m.connect([name]) for m, name in zip(members, "abc", strict=True)))
        assert [part.number for part in again] == [2, 2, 2]

    play(act)


def test_a_failure_to_connect_is_that_of_all_who_wait_and_the_next_try_comes_after_a_pause() -> None:
    async def act(stage: Stage) -> None:
        for failures in (1, 2, 3):
            stage.stream.failures.append(RetryableError("no route"))
            members = [stage.shared.member() for _ in range(10)]
            tries = [member.connect(["a"]) for member in members]
            found = await asyncio.gather(*tries, return_exceptions=True)
            assert [str(one) for one in found] == ["no route"] * 10
            assert len(stage.stream.tried) == failures
        await stage.joined("a")

    assert play(act).stream.tried == [0, 1, 3, 7]


def test_connections_that_end_at_once_are_made_with_longer_and_longer_pauses() -> None:
    async def act(stage: Stage) -> None:
        for _ in range(4):
            (part,) = await stage.joined("a")
            stage.stream.connections[-1].end()
            with pytest.raises(StreamEnded):
                await part.read()

    assert play(act).stream.tried == [0, 1, 3, 7]


def test_streams_that_are_refused_are_the_failure_of_their_member_alone() -> None:
    async def act(stage: Stage) -> None:
        await stage.joined("a")
        stage.stream.connections[0].refused = {"bad"}
        members = [stage.shared.member() for _ in range(3)]
        found: list[Any] = await asyncio.gather(
            *(m.connect([name]) for m, name in zip(members, ("b", "bad", "c"), strict=True)), return_exceptions=True
        )
        assert isinstance(found[1], PermanentError)
        assert [found[at].number for at in (0, 2)] == [1, 1]
        stage.stream.connections[0].give(message("c", 1))
        assert await read(found[2]) == [message("c", 1)]

    play(act)


def test_an_address_that_is_no_server_of_streams_is_the_failure_of_all() -> None:
    async def act(stage: Stage) -> None:
        stage.stream.failures.extend(PermanentError("no WebSocket server") for _ in range(3))
        members = [stage.shared.member() for _ in range(3)]
        found = await asyncio.gather(*(m.connect(["a"]) for m in members), return_exceptions=True)
        assert [type(one) for one in found] == [PermanentError] * 3

    play(act)


def test_once_one_takes_a_younger_connection_all_are_told_to_and_meet_there() -> None:
    async def act(stage: Stage) -> None:
        members = [stage.shared.member() for _ in range(3)]
        old = [await member.connect([name]) for member, name in zip(members, "abc", strict=True)]
        await stage.clock.sleep(100)
        assert not any(part.ending_announced for part in old)
        first = await members[0].connect(["a"])
        assert all(part.ending_announced for part in old)
        assert (first.number, first.ending_announced) == (2, False)
        new = [first, *[await member.connect([name]) for member, name in zip(members[1:], "bc", strict=True)]]
        assert [part.number for part in new] == [2, 2, 2]
        one, two = stage.stream.connections
        one.give(message("b", 1))
        two.give(message("b", 1))
        assert await read(old[1]) == await read(new[1]) == [message("b", 1)]
        for part in old:
            await part.abort()
        await stage.clock.sleep(1)
        assert (one.aborted, two.aborted) == (True, False)
        assert not any(part.ending_announced for part in new)

    play(act)


def test_a_member_whose_stream_is_silent_moves_alone() -> None:
    async def act(stage: Stage) -> None:
        members = [stage.shared.member() for _ in range(2)]
        parts = [await member.connect([name]) for member, name in zip(members, "ab", strict=True)]
        await parts[0].abort()
        again = await members[0].connect(["a"])
        assert (again.number, parts[1].ending_announced) == (2, False)
        stage.stream.connections[0].give(message("b", 1))
        assert await read(parts[1]) == [message("b", 1)]

    play(act)


def test_who_does_not_read_loses_its_part_and_holds_up_nobody() -> None:
    large = b'{"stream":"slow","data":"' + b"x" * (HELD_BYTES // 4) + b'"}'

    async def act(stage: Stage) -> None:
        slow, quick = await stage.joined("slow", "quick")
        (one,) = stage.stream.connections
        for number in range(6):
            one.give(large, message("quick", number))
            assert await read(quick) == [message("quick", number)]
        assert await read(slow) == [large] * 4
        with pytest.raises(StreamEnded, match="were not read in time"):
            await slow.read()
        await stage.clock.sleep(1)
        assert one.streams == ("quick",)

    play(act)


@pytest.mark.parametrize("text", [b"{", b'{"result":null,"id":7}', b'{"stream":"\xff"}', b"[1]"])
def test_what_names_no_stream_is_read_by_all(text: bytes) -> None:
    async def act(stage: Stage) -> None:
        parts = await stage.joined("a", "b")
        stage.stream.connections[0].give(text)
        assert [await read(part) for part in parts] == [[text], [text]]

    play(act)


def test_who_gives_up_before_there_is_a_connection_leaves_none_behind() -> None:
    async def act(stage: Stage) -> None:
        connecting = asyncio.create_task(stage.shared.member().connect(["a"]))
        await asyncio.sleep(0)
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)
        await stage.clock.sleep(1)
        assert not stage.stream.live

    play(act)


def test_who_has_a_connection_changes_to_a_younger_one_only() -> None:
    async def act(stage: Stage) -> None:
        await stage.joined("a")
        await stage.clock.sleep(10)
        moved = stage.shared.member()
        await (await moved.connect(["b"])).abort()
        await moved.connect(["b"])
        late = stage.shared.member()
        assert (await late.connect(["c"])).number == 2
        await stage.clock.sleep(10)
        assert (await late.connect(["c"])).number == 3

    play(act)


def test_streams_that_are_refused_with_a_new_connection_are_the_failure_of_their_member_alone() -> None:
    async def act(stage: Stage) -> None:
        stage.stream.failures.append(PermanentError("refused"))
        members = [stage.shared.member() for _ in range(3)]
        found: list[Any] = await asyncio.gather(
            *(m.connect([name]) for m, name in zip(members, ("bad", "b", "c"), strict=True)), return_exceptions=True
        )
        assert isinstance(found[0], PermanentError)
        assert [part.number for part in found[1:]] == [1, 1]

    play(act)


@pytest.mark.usefixtures("uncollected")
def test_a_part_that_was_left_is_in_no_cycle() -> None:
    async def act(stage: Stage) -> None:
        members = {name: stage.shared.member() for name in "ab"}
        parts = [await member.connect([name]) for name, member in members.items()]
        (one,) = stage.stream.connections
        one.end()
        for part in parts:
            with contextlib.suppress(StreamEnded):
                await part.read()
            await part.abort()
        left = [weakref.ref(part) for part in parts]
        del part, parts
        for name, member in members.items():
            await member.connect([name])
        assert [part() for part in left] == [None, None]

    play(act)
