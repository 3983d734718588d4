"""The bus in memory, on which the manager is tested, keeps the contract as far as one process and partition go."""

from __future__ import annotations

import pytest

from tests.contracts.bus import BusContract, BusFixtures, BusGroupContract, Factory, MakeBus
from tests.contracts.bus_draining import BusDrainingContract
from tests.contracts.exclusions import SHARED, SPREAD, without
from tests.doubles.memorybus import MemoryBus

ONE_PROCESS = "it lives in one process"


class Memory(BusFixtures):
    @pytest.fixture
    def make_bus(self) -> MakeBus:
        bus = MemoryBus()
        return lambda: bus

    @pytest.fixture
    def factory(self) -> Factory:
        raise AssertionError(ONE_PROCESS)


@without({**SPREAD, "test_what_is_confirmed_in_one_process_is_seen_in_another": ONE_PROCESS})
class TestMemoryBus(Memory, BusContract):
    pass


@without(
    {
        **SHARED,
        "test_a_member_that_is_killed_is_replaced": ONE_PROCESS,
        "test_a_commit_and_a_seek_do_not_wait_for_a_poll_that_finds_nothing": "a poll of it ends at every change",
    }
)
class TestMemoryBusGroups(Memory, BusGroupContract):
    pass


class TestMemoryBusDraining(Memory, BusDrainingContract):
    pass
