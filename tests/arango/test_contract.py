"""The whole contract of the store: on a double of 3.11, where statements compare versions, and on a real server."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping

import pytest

from tests.arango import servers
from tests.contracts.arango import Arango
from tests.contracts.store import CollectionContract, DocumentContract
from tests.contracts.store_records import RecordContract
from tests.contracts.store_states import EdgeContract, StateContract
from tests.doubles import arangoprocess


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """The real server that `ARANGO_URL` names, else a double of 3.11 (on one of 3.12, `make test` runs it)."""
    named = servers.real()
    if named is not None:
        databases = servers.Databases(named)
        yield databases(f"sf-contract-{secrets.token_hex(4)}")
        databases.drop()
        return
    with arangoprocess.running(tmp_path_factory.mktemp("older"), version="3.11.14") as double:
        yield double.environment()


class OnServer(Arango):
    @pytest.fixture
    def server(self, server: Mapping[str, str]) -> Mapping[str, str]:
        return server


class TestArangoDocuments(OnServer, DocumentContract):
    pass


class TestArangoRecords(OnServer, RecordContract):
    pass


class TestArangoCollections(OnServer, CollectionContract):
    pass


class TestArangoStates(OnServer, StateContract):
    pass


class TestArangoEdges(OnServer, EdgeContract):
    pass
