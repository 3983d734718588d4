"""The contract of the store is kept by the embedded one and by the one on ArangoDB.

The latter on a double of 3.12, which compares versions by itself. The store in memory, on which the manager is tested,
keeps it as far as one process goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore
from tests.contracts.arango import Arango
from tests.contracts.exclusions import ONE_PROCESS, without
from tests.contracts.store import CollectionContract, DocumentContract, Factory, MakeStore, StoreFixtures
from tests.contracts.store_records import RecordContract
from tests.contracts.store_states import EdgeContract, StateContract
from tests.doubles import arangoprocess
from tests.doubles.arangoprocess import ArangoProcess
from tests.doubles.memorystore import MemoryStore


def make(directory: str) -> EmbeddedStore:
    return EmbeddedStore(Path(directory))


class Embedded(StoreFixtures):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> MakeStore:
        return lambda: EmbeddedStore(tmp_path / "store")

    @pytest.fixture
    def factory(self, tmp_path: Path) -> Factory:
        return f"{__name__}:make", str(tmp_path / "store")


class TestEmbeddedDocuments(Embedded, DocumentContract):
    pass


class TestEmbeddedRecords(Embedded, RecordContract):
    pass


class TestEmbeddedCollections(Embedded, CollectionContract):
    pass


class TestEmbeddedStates(Embedded, StateContract):
    pass


class TestEmbeddedEdges(Embedded, EdgeContract):
    pass


@pytest.fixture(scope="module")
def double(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArangoProcess]:
    with arangoprocess.running(tmp_path_factory.mktemp("arango")) as found:
        yield found


@pytest.mark.e2e
class Double(Arango):
    @pytest.fixture
    def server(self, double: ArangoProcess) -> Mapping[str, str]:
        return double.environment()


class TestArangoDocuments(Double, DocumentContract):
    pass


class TestArangoRecords(Double, RecordContract):
    pass


class TestArangoCollections(Double, CollectionContract):
    pass


class TestArangoStates(Double, StateContract):
    pass


class TestArangoEdges(Double, EdgeContract):
    pass


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


class TestMemoryRecords(Memory, RecordContract):
    pass


@without({"test_nothing_is_lost_after_a_drop_by_another_process": ONE_PROCESS})
class TestMemoryCollections(Memory, CollectionContract):
    pass


@without({"test_no_update_is_lost_between_processes": ONE_PROCESS})
class TestMemoryStates(Memory, StateContract):
    pass


class TestMemoryEdges(Memory, EdgeContract):
    pass
