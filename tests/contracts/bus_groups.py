"""What every bus promises of groups of consumers, and what a sink relies on that stores the rest of a topic."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest

from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.model.messages import EOS_KEY, EndOfStream, encode_marker
from streamforge_utils.model.topic_reading import PartitionRange, Until, Upstream
from streamforge_utils.ports.bus import Bus, Consumer, Message, Received, Retention, Start, TopicSpec
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.columns import ends_of
from streamforge_utils.runtime.input.dead_letter_replay import Choice, ReplaySettings
from streamforge_utils.runtime.input.offset_reader import OffsetReader
from streamforge_utils.runtime.input.worker_input import Input
from streamforge_utils.runtime.output.topic_specs import dead_letters_topic
from tests.contracts.bus_fixtures import BusFixtures, BusWithAdmin, Factory, numbered, read, values
from tests.contracts.remote_process import line, remote
from tests.doubles.instruments import instruments
from tests.limits import LIMIT_S

GROUP = "group"


class BusGroupContract(BusFixtures):
    """Groups, committed offsets, lag and the cap."""

    async def test_a_group_resumes_at_its_own_committed_offset(self, bus: BusWithAdmin, topic: str) -> None:
        await (await bus.producer()).send(topic, numbered(20))
        for committed in (0, 5):
            first = await bus.consumer(topic, group="group")
            assert values(await read(first, 8, self.patience_s)) == list(range(8))
            if committed:
                await first.commit({0: committed})
            await first.close()
        for group, begin in (("group", 5), ("other", 0)):
            second = await bus.consumer(topic, group=group)
            assert values(await read(second, 20 - begin, self.patience_s)) == list(range(begin, 20))

    async def test_of_chosen_letters_what_is_before_the_first_that_stays_is_committed(self, bus: BusWithAdmin) -> None:
        dead = f"contract-{secrets.token_hex(6)}-dlq"
        await bus.create_topic(dead_letters_topic(dead, ("g",)))
        await (await bus.producer()).send(dead, numbered(6))
        passed = tuple[PartitionRange, ...]()
        for there, chosen, left in ([0, 1, 2, 3, 4, 5], [0, 2], 5), ([1, 2, 3, 4, 5], [1], 3):
            consumer = await bus.consumer(dead, group="g")
            found = await read(consumer, len(there), self.patience_s)
            letters = tuple(PartitionRange(0, number, number + 1) for number in chosen)
            choice = Choice(ReplaySettings(on=True, letters=letters, passed=passed), "sink")
            assert (values(found), values(choice.wanted(found))) == (there, chosen)
            await consumer.commit(ends_of(choice.settled(found)))
            await consumer.close()
            assert (await bus.lag(dead, "g")).records == left
            passed += letters
        await bus.delete_topic(dead)

    async def test_a_commit_and_a_seek_do_not_wait_for_a_poll_that_finds_nothing(
        self, bus: BusWithAdmin, topic: str
    ) -> None:
        await (await bus.producer()).send(topic, numbered(4))
        member = await bus.consumer(topic, group="group")
        received = await read(member, 4, self.patience_s)
        polling = asyncio.create_task(member.poll(10, 100 * LIMIT_S))
        await asyncio.sleep(0)
        async with asyncio.timeout(self.patience_s):
            await member.commit({0: 4})
            assert not polling.done()
            await member.seek(0, 1)
            assert received[1] in await polling

    async def test_without_a_group_nothing_is_committed_and_with_one_no_time_is_given(
        self, bus: BusWithAdmin, topic: str
    ) -> None:
        consumer = await bus.consumer(topic)
        with pytest.raises(PermanentError, match="group"):
            await consumer.commit({0: 1})
        with pytest.raises(PermanentError, match="group"):
            await bus.consumer(topic, group="group", start_time_ms=1)
        with pytest.raises(PermanentError, match="group"):
            await bus.consumer(topic, group="group", start=Start.LATEST)

    async def test_a_member_that_closes_is_replaced_from_the_committed_offset(
        self, bus: BusWithAdmin, other: BusWithAdmin, topic: str
    ) -> None:
        await (await bus.producer()).send(topic, numbered(10))
        owner, waiting = await self._owner_and_waiting(bus, other, topic)
        await owner.commit({0: 4})
        await owner.close()
        assert values(await read(waiting, 6, self.patience_s)) == [4, 5, 6, 7, 8, 9]

    async def test_a_member_that_is_killed_is_replaced(self, bus: BusWithAdmin, topic: str, factory: Factory) -> None:
        await (await bus.producer()).send(topic, numbered(10))
        async with remote(factory, "member", topic, "group", "commits") as process:
            assert await line(process) == "ready"
            assert [await line(process) for _ in range(10)] == [f"0 {number}" for number in range(10)]
            waiting = await bus.consumer(topic, group="group")
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
        assert await waiting.position() == {}
        with pytest.raises(RetryableError, match="another member"):
            await waiting.commit({0: 4})
        await owner.commit({0: 5})
        await waiting.commit({0: 4})  # needs no commit any more: the group has come as far
        assert (await bus.lag(topic, "group")).records == 5

    async def test_what_every_group_has_committed_can_be_trimmed_and_nothing_else_goes(
        self, bus: BusWithAdmin, topic: str
    ) -> None:
        producer = await bus.producer()
        for first in (0, 10, 20):
            await producer.send(topic, numbered(10, first=first))
        fast, slow = await bus.consumer(topic, group="fast"), await bus.consumer(topic, group="slow")
        await read(fast, 30, self.patience_s)
        await fast.commit({0: 25})
        await bus.trim(topic, ["fast", "slow"])
        assert values(await read(slow, 30, self.patience_s)) == list(range(30)), "one group has committed nothing"
        await slow.commit({0: 20})
        await bus.trim(topic, ["fast", "slow"])
        late = await bus.consumer(topic)
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
        fast, slow = await bus.consumer(name, group="fast"), await other.consumer(name, group="slow")
        ahead = await read(fast, 100, self.patience_s)
        await fast.commit({0: ahead[-1].offset + 1})
        await asyncio.wait({sending}, timeout=self.settling_s)
        assert not sending.done()
        # Nothing was trimmed below the slowest: the other group still reads all from the first message on.
        received: list[Received] = []
        while len(received) < 1000:
            fresh = await read(slow, 1, self.patience_s) + list(await slow.poll(1000, 0))
            assert fresh, f"stuck after {len(received)} messages"
            received += fresh
            await slow.commit({0: received[-1].offset + 1})
            for message in await fast.poll(1000, 0):
                await fast.commit({0: message.offset + 1})
        async with asyncio.timeout(self.patience_s):
            await sending
        assert [message.offset for message in received] == list(range(1000))
        assert [int(message.value[:7]) for message in received] == list(range(1000))
        await bus.delete_topic(name)

    async def _owner_and_waiting(self, bus: Bus, other: Bus, topic: str) -> tuple[Consumer, Consumer]:
        """Two members of a group over one partition: the one that reads it, and the one that waits for it."""
        first = await bus.consumer(topic, group="group")
        await read(first, 1, self.patience_s)
        second = await other.consumer(topic, group="group")
        for _ in range(100):
            for owner, waiting in ((first, second), (second, first)):
                await waiting.poll(1, 0)
                if await owner.poll(1, 0.05):
                    return owner, waiting
        raise AssertionError("none of the members owns the partition")


class BusDrainingContract(BusFixtures):
    """What is on the topic when it is asked for is read to its end, and counted."""

    @pytest.fixture
    async def part(self, bus: BusWithAdmin, topic: str) -> AsyncIterator[Input]:
        """The input of a sink."""
        consumer = await bus.consumer(topic, group=GROUP)
        yield new_input(bus, topic, consumer)
        await consumer.close()

    async def test_a_drained_input_ends_with_the_log(self, bus: BusWithAdmin, topic: str, part: Input) -> None:
        await (await bus.producer()).send(topic, numbered(7000))
        part.drain(upstream_ended=True)
        assert await drained(part) == list(range(7000))
        assert (part.drained, await part.left()) == (True, 0)
        assert (await bus.lag(topic, GROUP)).records == 0

    async def test_a_drained_input_goes_on_where_another_member_has_committed(
        self, bus: BusWithAdmin, topic: str
    ) -> None:
        await (await bus.producer()).send(topic, numbered(10))
        first = await bus.consumer(topic, group=GROUP)
        assert len(await read(first, 4, self.patience_s)) == 4
        await first.commit({0: 4})
        await first.close()
        part = new_input(bus, topic, await bus.consumer(topic, group=GROUP))
        part.drain(upstream_ended=True)
        assert await drained(part) == [4, 5, 6, 7, 8, 9]

    async def test_a_drained_input_ends_at_the_marker_of_a_loader_that_was_stopped(
        self, bus: BusWithAdmin, topic: str, part: Input
    ) -> None:
        producer = await bus.producer()
        await producer.send(topic, numbered(3))
        part.drain(upstream_ended=False)
        reading = asyncio.create_task(drained(part))
        marker = EndOfStream(producer="loader", attempt=1, records=3, reason="interrupted")
        await producer.send(topic, [*numbered(2, first=3), Message(EOS_KEY, encode_marker(marker))])
        assert await reading == [0, 1, 2, 3, 4]
        assert await part.left() == 0

    async def test_an_empty_topic_is_drained_at_once(self, part: Input) -> None:
        part.drain(upstream_ended=True)
        assert await drained(part) == []
        assert part.drained

    async def test_what_is_left_is_counted(self, bus: BusWithAdmin, topic: str, part: Input) -> None:
        await (await bus.producer()).send(topic, numbered(10))
        assert await part.left() == 10
        async with asyncio.timeout(LIMIT_S):
            async for batch in part:
                await part.done(batch[:1])
                break
        assert await part.left() == 9
        await (await bus.producer()).send(topic, numbered(5, first=10))
        assert await part.left() == 14

    @pytest.mark.parametrize("trimmed", [6, 10])
    async def test_what_was_trimmed_before_it_was_read_is_noted_and_the_rest_is_read(
        self, bus: BusWithAdmin, topic: str, trimmed: int
    ) -> None:
        producer = await bus.producer()
        for number in range(10):
            await producer.send(topic, numbered(1, first=number))
        for group, offset in ((GROUP, 3), ("other", trimmed)):
            member = await bus.consumer(topic, group=group)
            await read(member, 10, self.patience_s)
            await member.commit({0: offset})
            await member.close()
        await bus.trim(topic, ["other"])
        assert (await bus.lag(topic, GROUP)).committed == {0: 3}
        assert (await bus.lag(topic, "new")).committed == {}
        again, noted = await bus.consumer(topic, group=GROUP), list[object]()
        part = OffsetReader(
            again, bus, topic, GROUP, Until.parse("end"), [PartitionRange(0, 2, 10)], instruments(), batch_records=3
        )

        async def note(extra: object) -> None:
            noted.append(extra)

        part.note = note
        assert await drained(part) == [*range(trimmed, 10)]
        await part.commit()
        assert noted == [{"skipped": [f"0:3:{trimmed}"]}]
        assert await again.position() == {0: 10}


def new_input(
    bus: BusWithAdmin, topic: str, consumer: Consumer, *, group: str = GROUP, clock: Clock | None = None
) -> Input:
    """The input of a sink whose only loader is `loader`."""
    return Input(
        consumer,
        bus,
        topic,
        group,
        [Upstream("loader")],
        instruments(clock),
    )


async def drained(part: Input) -> list[int]:
    """What is read to the end."""
    found: list[int] = []
    async with asyncio.timeout(LIMIT_S):
        async for batch in part:
            found += [int(message.value) for message in batch]
            await part.done(batch)
    return found
