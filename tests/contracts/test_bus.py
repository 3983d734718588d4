"""The embedded bus keeps the contract of the bus; the bus in memory, on which the manager is tested, too.

The latter as far as one process goes.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from streamforge_utils.adapters.embedded.bus.embedded_bus import EmbeddedBus
from tests.contracts.bus import BusContract
from tests.contracts.bus_fixtures import BusFixtures, Factory, MakeBus
from tests.contracts.bus_groups import BusDrainingContract, BusGroupContract
from tests.contracts.exclusions import ONE_PROCESS, without
from tests.doubles.memorybus import MemoryBus


def make(directory: str) -> EmbeddedBus:
    return EmbeddedBus(Path(directory))


class Embedded(BusFixtures):
    @pytest.fixture
    def make_bus(self, tmp_path: Path) -> MakeBus:
        return lambda: EmbeddedBus(tmp_path / "bus")

    @pytest.fixture
    def factory(self, tmp_path: Path) -> Factory:
        return f"{__name__}:make", str(tmp_path / "bus")


class TestEmbeddedBus(Embedded, BusContract):
    pass


class TestEmbeddedBusGroups(Embedded, BusGroupContract):
    pass


class TestEmbeddedBusDraining(Embedded, BusDrainingContract):
    pass


class Memory(BusFixtures):
    @pytest.fixture
    def make_bus(self) -> MakeBus:
        bus = MemoryBus()
        return lambda: bus

    @pytest.fixture
    def factory(self) -> Factory:
        raise AssertionError(ONE_PROCESS)


@without({"test_what_is_confirmed_in_one_process_is_seen_in_another": ONE_PROCESS})
class TestMemoryBus(Memory, BusContract):
    pass


@without(
    {
        "test_a_member_that_is_killed_is_replaced": ONE_PROCESS,
        "test_a_commit_and_a_seek_do_not_wait_for_a_poll_that_finds_nothing": "a poll of it ends at every change",
    }
)
class TestMemoryBusGroups(Memory, BusGroupContract):
    pass


class TestMemoryBusDraining(Memory, BusDrainingContract):
    pass
