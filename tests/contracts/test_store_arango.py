"""The store on ArangoDB keeps the contract: on a double of 3.12, which compares versions by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from tests.contracts.arango import Arango
from tests.contracts.store import CollectionContract, DocumentContract
from tests.contracts.store_states import EdgeContract, StateContract
from tests.doubles import arangoprocess
from tests.doubles.arangoprocess import ArangoProcess


@pytest.fixture(scope="module")
def double(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArangoProcess]:
    with arangoprocess.running(tmp_path_factory.mktemp("arango")) as found:
        yield found


class Double(Arango):
    @pytest.fixture
    def server(self, double: ArangoProcess) -> Mapping[str, str]:
        return double.environment()


class TestArangoDocuments(Double, DocumentContract):
    pass


class TestArangoCollections(Double, CollectionContract):
    pass


class TestArangoStates(Double, StateContract):
    pass


class TestArangoEdges(Double, EdgeContract):
    pass
