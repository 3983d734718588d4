"""The store in memory, on which the manager is tested, keeps the contract as far as one process goes."""

from __future__ import annotations

import pytest

from tests.contracts.exclusions import without
from tests.contracts.store import CollectionContract, DocumentContract, Factory, MakeStore, StoreFixtures
from tests.contracts.store_states import EdgeContract, StateContract
from tests.doubles.memorystore import MemoryStore

ONE_PROCESS = "it lives in one process"


class Memory(StoreFixtures):
    @pytest.fixture
    def make_store(self) -> MakeStore:
        store = MemoryStore()
        return lambda: store

    @pytest.fixture
    def factory(self) -> Factory:
        raise AssertionError(ONE_PROCESS)


@without(
    {
        "test_two_processes_at_once_end_with_the_newest": ONE_PROCESS,
        "test_what_was_answered_survives_a_kill": ONE_PROCESS,
    }
)
class TestMemoryDocuments(Memory, DocumentContract):
    pass


@without({"test_nothing_is_lost_after_a_drop_by_another_process": ONE_PROCESS})
class TestMemoryCollections(Memory, CollectionContract):
    pass


@without({"test_no_update_is_lost_between_processes": ONE_PROCESS})
class TestMemoryStates(Memory, StateContract):
    pass


class TestMemoryEdges(Memory, EdgeContract):
    pass
