"""The embedded store keeps the contract of the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore
from tests.contracts.store import CollectionContract, DocumentContract, Factory, MakeStore, StoreFixtures
from tests.contracts.store_states import EdgeContract, StateContract


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


class TestEmbeddedCollections(Embedded, CollectionContract):
    pass


class TestEmbeddedStates(Embedded, StateContract):
    pass


class TestEmbeddedEdges(Embedded, EdgeContract):
    pass
