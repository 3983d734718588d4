"""The contract of the store of objects is kept by a folder; in tests/engines/objects by a real S3 server."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamforge_utils.adapters.object_storage.object_folder import ObjectFolder
from streamforge_utils.ports.object_store import ObjectStore
from tests.contracts.objects import ConditionalContract, ObjectContract, Spoil


class TestFolder(ObjectContract, ConditionalContract):
    @pytest.fixture
    def objects(self, tmp_path: Path) -> ObjectStore:
        return ObjectFolder(tmp_path / "objects")

    @pytest.fixture
    def spoil(self, tmp_path: Path) -> Spoil:
        async def change(name: str) -> None:
            path = tmp_path / "objects" / name
            path.write_bytes(path.read_bytes()[:-1] + b"?")

        return change
