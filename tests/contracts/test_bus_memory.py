"""The bus in memory, on which the manager is tested, keeps the contract as far as one process and partition go."""

from __future__ import annotations

import pytest

from streamforge_utils.model.errors import RetryableError
from streamforge_utils.ports.bus import TopicPartition, TopicSpec
from tests.contracts.bus import BusContract, BusFixtures, BusGroupContract, Factory, MakeBus
from tests.contracts.bus_draining import BusDrainingContract
from tests.contracts.exclusions import without
from tests.doubles.memorybus import MemoryBus

ONE_PARTITION = "its topics have one partition, as those of the manager have"
ONE_PROCESS = "it lives in one process"


class Memory(BusFixtures):
    @pytest.fixture
    def make_bus(self) -> MakeBus:
        bus = MemoryBus()
        return lambda: bus

    @pytest.fixture
    def factory(self) -> Factory:
        raise AssertionError(ONE_PROCESS)


@without(
    {
        "test_a_key_stays_in_its_partition_in_order_whoever_sends": ONE_PARTITION,
        "test_messages_without_a_key_are_spread_and_a_poll_gives_no_more_than_was_asked_for": ONE_PARTITION,
        "test_lag_says_where_it_lies_and_a_consumer_that_reads_little_gives_the_same": ONE_PARTITION,
        "test_what_is_confirmed_in_one_process_is_seen_in_another": ONE_PROCESS,
    }
)
class TestMemoryBus(Memory, BusContract):
    pass


@without(
    {
        "test_two_members_share_the_partitions": ONE_PARTITION,
        "test_a_late_commit_of_a_partition_that_was_lost_is_refused": ONE_PARTITION,
        "test_a_late_commit_of_a_partition_that_came_back_changes_nothing": ONE_PARTITION,
        "test_a_member_that_is_killed_is_replaced": ONE_PROCESS,
        "test_a_commit_and_a_seek_do_not_wait_for_a_poll_that_finds_nothing": "a poll of it ends at every change",
    }
)
class TestMemoryBusGroups(Memory, BusGroupContract):
    async def test_a_member_without_the_partition_cannot_commit(self) -> None:
        """In place of the late commit: here a partition is lost only by closing."""
        bus = MemoryBus()
        await bus.create_topic(TopicSpec(name="topic"))
        first = await bus.consumer(["topic"], group="group")
        second = await bus.consumer(["topic"], group="group")
        with pytest.raises(RetryableError, match="another member"):
            await second.commit({TopicPartition("topic", 0): 1})
        await first.commit({TopicPartition("topic", 0): 2})
        await second.commit({TopicPartition("topic", 0): 1})
        assert bus.committed["topic", "group"] == 2


class TestMemoryBusDraining(Memory, BusDrainingContract):
    pass
