"""The contract of a bus, its second half: groups of consumers."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence

import pytest

from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.ports.bus import (
    Bus,
    Consumer,
    Message,
    Producer,
    Received,
    Retention,
    Start,
    TopicPartition,
    TopicSpec,
)
from tests.contracts.bus_fixtures import BusFixtures, BusWithAdmin, Factory, numbered, read, values
from tests.contracts.bus_remote import line, remote
from tests.limits import LIMIT_S


class BusGroupContract(BusFixtures):
    """Groups, committed offsets, lag and the cap."""

    async def test_a_group_resumes_at_its_own_committed_offset(self, bus: BusWithAdmin, topic: str) -> None:
        await (await bus.producer()).send(topic, numbered(20))
        for committed in (0, 5):
            first = await bus.consumer([topic], group="group")
            assert values(await read(first, 8, self.patience_s)) == list(range(8))
            if committed:
                await first.commit({TopicPartition(topic, 0): committed})
            await first.close()
        for group, begin in (("group", 5), ("other", 0)):
            second = await bus.consumer([topic], group=group)
            assert values(await read(second, 20 - begin, self.patience_s)) == list(range(begin, 20))

    async def test_a_commit_and_a_seek_do_not_wait_for_a_poll_that_finds_nothing(
        self, bus: BusWithAdmin, topic: str
    ) -> None:
        await (await bus.producer()).send(topic, numbered(4))
        member = await bus.consumer([topic], group="group")
        received = await read(member, 4, self.patience_s)
        polling = asyncio.create_task(member.poll(10, 100 * LIMIT_S))
        await asyncio.sleep(0)
        async with asyncio.timeout(self.patience_s):
            await member.commit({TopicPartition(topic, 0): 4})
            assert not polling.done()
            await member.seek(TopicPartition(topic, 0), 1)
            assert received[1] in await polling

    async def test_without_a_group_nothing_is_committed_and_with_one_no_time_is_given(
        self, bus: BusWithAdmin, topic: str
    ) -> None:
        consumer = await bus.consumer([topic])
        with pytest.raises(PermanentError, match="group"):
            await consumer.commit({TopicPartition(topic, 0): 1})
        with pytest.raises(PermanentError, match="group"):
            await bus.consumer([topic], group="group", start_time_ms=1)
        with pytest.raises(PermanentError, match="group"):
            await bus.consumer([topic], group="group", start=Start.LATEST)

    async def test_two_members_share_the_partitions(self, bus: BusWithAdmin, other: BusWithAdmin, wide: str) -> None:
        members = [await bus.consumer([wide], group="group"), await other.consumer([wide], group="group")]
        producer = await bus.producer()
        seen: list[dict[int, set[int]]] = [{}, {}]
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self.patience_s
        number = 0
        # They share once each has read something that the other one has not, and everything was read by somebody.
        while loop.time() < give_up and not (seen[0] and seen[1]):
            await producer.send(wide, numbered(8, first=number, key=None))
            number += 8
            for member, mine in zip(members, seen, strict=True):
                for message in await member.poll(100, 0.05):
                    mine.setdefault(message.partition, set()).add(int(message.value))
        while loop.time() < give_up and _read_by(seen) != set(range(number)):
            for member, mine in zip(members, seen, strict=True):
                for message in await member.poll(100, 0.05):
                    mine.setdefault(message.partition, set()).add(int(message.value))
        assert seen[0]
        assert seen[1]
        assert _read_by(seen) == set(range(number))

    async def test_a_member_that_closes_is_replaced_from_the_committed_offset(
        self, bus: BusWithAdmin, other: BusWithAdmin, topic: str
    ) -> None:
        await (await bus.producer()).send(topic, numbered(10))
        owner, waiting = await self._owner_and_waiting(bus, other, topic)
        await owner.commit({TopicPartition(topic, 0): 4})
        await owner.close()
        assert values(await read(waiting, 6, self.patience_s)) == [4, 5, 6, 7, 8, 9]

    async def test_a_member_that_is_killed_is_replaced(self, bus: BusWithAdmin, topic: str, factory: Factory) -> None:
        await (await bus.producer()).send(topic, numbered(10))
        async with remote(factory, "member", topic, "group", "commits") as process:
            assert await line(process) == "ready"
            assert [await line(process) for _ in range(10)] == [f"0 {number}" for number in range(10)]
            waiting = await bus.consumer([topic], group="group")
            process.kill()
            await process.wait()
            await (await bus.producer()).send(topic, numbered(3, first=10))
            received = values(await read(waiting, 3, self.takeover_s))
        assert received == [10, 11, 12]

    async def test_a_member_without_the_partition_cannot_commit(
        self, bus: BusWithAdmin, other: BusWithAdmin, topic: str
    ) -> None:
        await (await bus.producer()).send(topic, numbered(10))
        owner, waiting = await self._owner_and_waiting(bus, other, topic)
        place = TopicPartition(topic, 0)
        with pytest.raises(RetryableError, match="another member"):
            await waiting.commit({place: 4})
        await owner.commit({place: 5})
        await waiting.commit({place: 4})  # needs no commit any more: the group has come as far
        assert (await bus.lag(topic, "group")).records == 5

    async def test_a_late_commit_of_a_partition_that_was_lost_is_refused(
        self, bus: BusWithAdmin, other: BusWithAdmin, wide: str
    ) -> None:
        producer = await bus.producer()
        await producer.send(wide, numbered(40, key=None))
        first = await bus.consumer([wide], group="group")
        await read(first, 40, self.patience_s)
        second, (message,) = await self._taken_away(first, other, wide, 1)
        place, end = TopicPartition(wide, message.partition), message.offset + 1
        with pytest.raises(RetryableError, match="another member"):
            await first.commit({place: 10})
        await second.commit({place: end})
        left = (await bus.lag(wide, "group")).records
        await first.commit({place: end})  # needs no commit any more: the group has come as far
        with pytest.raises(RetryableError, match="another member"):
            await first.commit({place: end + 1})
        assert (await bus.lag(wide, "group")).records == left

    async def test_a_late_commit_of_a_partition_that_came_back_changes_nothing(
        self, bus: BusWithAdmin, other: BusWithAdmin, wide: str
    ) -> None:
        producer = await bus.producer()
        await producer.send(wide, numbered(40, key=None))
        first = await bus.consumer([wide], group="group")
        await read(first, 40, self.patience_s)
        second, taken = await self._taken_away(first, other, wide, 2)
        place, end = TopicPartition(wide, taken[-1].partition), taken[-1].offset + 1
        await second.commit({place: end})
        await first.commit({place: end - 1})  # while it is the other one's
        await second.close()
        again = await self._come_back(producer, first, place)
        assert min(message.offset for message in again) == end
        ranges = (await bus.lag(wide, "group")).ranges
        assert ranges[place.partition][0] == end
        for outdated in (end - 1, end - 1, 0):  # none of them makes the next one count
            await first.commit({place: outdated})
            assert (await bus.lag(wide, "group")).ranges == ranges
        await first.commit({place: again[-1].offset + 1})
        assert (await bus.lag(wide, "group")).ranges.get(place.partition, (again[-1].offset + 1,))[0] > end
        await first.commit({place: end})  # it reads here again, and says where it goes on
        assert (await bus.lag(wide, "group")).ranges[place.partition][0] == end

    async def test_what_every_group_has_committed_can_be_trimmed_and_nothing_else_goes(
        self, bus: BusWithAdmin, topic: str
    ) -> None:
        producer = await bus.producer()
        for first in (0, 10, 20):
            await producer.send(topic, numbered(10, first=first))
        place = TopicPartition(topic, 0)
        fast, slow = await bus.consumer([topic], group="fast"), await bus.consumer([topic], group="slow")
        await read(fast, 30, self.patience_s)
        await fast.commit({place: 25})
        await bus.trim(topic, ["fast", "slow"])
        assert values(await read(slow, 30, self.patience_s)) == list(range(30)), "one group has committed nothing"
        await slow.commit({place: 20})
        await bus.trim(topic, ["fast", "slow"])
        late = await bus.consumer([topic])
        assert [message.offset for message in await read(late, 10, self.patience_s)] == list(range(20, 30))
        assert ((await bus.lag(topic, "slow")).records, (await bus.lag(topic, "fast")).records) == (10, 5)
        await producer.send(topic, numbered(1, first=30))
        assert [message.offset for message in await read(late, 1, self.patience_s)] == [30]
        await bus.trim(topic, [])
        assert (await bus.lag(topic, "new")).records == 11, "without a reader nothing goes"
        with pytest.raises(PermanentError):
            await bus.trim(f"{topic}-gone", ["fast"])

    async def test_a_full_topic_makes_the_producer_wait_until_its_reader_has_committed(
        self, bus: BusWithAdmin, other: BusWithAdmin
    ) -> None:
        name = f"contract-cap-{secrets.token_hex(6)}"
        await bus.create_topic(
            TopicSpec(name=name, retention=Retention.CONSUMED, max_bytes=200_000, readers=("slow", "fast"))
        )
        producer = await bus.producer()
        messages = [Message(b"%d" % number, b"%07d" % number + b"x" * 993) for number in range(1000)]
        sending = asyncio.create_task(producer.send(name, messages))
        fast, slow = await bus.consumer([name], group="fast"), await other.consumer([name], group="slow")
        place = TopicPartition(name, 0)
        ahead = await read(fast, 100, self.patience_s)
        await fast.commit({place: ahead[-1].offset + 1})
        await asyncio.wait({sending}, timeout=self.settling_s)
        assert not sending.done()
        # Nothing was trimmed below the slowest: the other group still reads all from the first message on.
        received: list[Received] = []
        while len(received) < 1000:
            fresh = await read(slow, 1, self.patience_s) + list(await slow.poll(1000, 0))
            assert fresh, f"stuck after {len(received)} messages"
            received += fresh
            await slow.commit({place: received[-1].offset + 1})
            for message in await fast.poll(1000, 0):
                await fast.commit({place: message.offset + 1})
        async with asyncio.timeout(self.patience_s):
            await sending
        assert [message.offset for message in received] == list(range(1000))
        assert [int(message.value[:7]) for message in received] == list(range(1000))
        await bus.delete_topic(name)

    async def _taken_away(
        self, owner: Consumer, other: Bus, topic: str, count: int
    ) -> tuple[Consumer, Sequence[Received]]:
        """A member that joined the group of `owner`, which has read everything, and `count` messages that it took.

        All of them lie in one partition.
        """
        member = await other.consumer([topic], group="group")
        taken: dict[int, list[Received]] = {}
        give_up = asyncio.get_running_loop().time() + self.patience_s
        while asyncio.get_running_loop().time() < give_up:
            for message in await member.poll(1, 0.2):
                taken.setdefault(message.partition, []).append(message)
                if len(taken[message.partition]) == count:
                    return member, taken[message.partition]
            if self.hands_over_in_poll:
                assert not await owner.poll(1, 0)
        raise AssertionError("the second member was given no partition")

    async def _come_back(self, producer: Producer, member: Consumer, place: TopicPartition) -> Sequence[Received]:
        """What `member` reads first of `place`, which another member has left."""
        give_up = asyncio.get_running_loop().time() + self.patience_s
        while asyncio.get_running_loop().time() < give_up:
            await producer.send(place.topic, numbered(8, first=40, key=None))
            received = [m for m in await member.poll(1000, 0.2) if m.partition == place.partition]
            if received:
                return received
        raise AssertionError("the partition did not come back")

    async def _owner_and_waiting(self, bus: Bus, other: Bus, topic: str) -> tuple[Consumer, Consumer]:
        """Two members of a group over one partition: the one that reads it, and the one that waits for it."""
        first = await bus.consumer([topic], group="group")
        await read(first, 1, self.patience_s)
        second = await other.consumer([topic], group="group")
        for _ in range(100):
            for owner, waiting in ((first, second), (second, first)):
                await waiting.poll(1, 0)
                if await owner.poll(1, 0.05):
                    return owner, waiting
        raise AssertionError("none of the members owns the partition")


def _read_by(members: list[dict[int, set[int]]]) -> set[int]:
    return {number for mine in members for numbers in mine.values() for number in numbers}
