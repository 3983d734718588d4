"""The contract of the store on ArangoDB: a subclass says which server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from streamforge_utils.adapters.arango import ArangoStore, Connection, Transport
from streamforge_utils.model.secret import Secret
from tests.contracts.store import Factory, MakeStore, StoreFixtures

_VARIABLE = "STREAMFORGE_TEST_ARANGO"


def connection(environ: Mapping[str, str]) -> Connection:
    """The way to the server that these variables name."""
    ca = environ.get("STREAMFORGE_ARANGO_CA_PATH")
    return Connection(
        url=environ["ARANGO_URL"],
        database=environ["ARANGO_DB"],
        user=environ.get("ARANGO_USER") or None,
        password=Secret(environ.get("ARANGO_PASSWORD", "")),
        ca_path=Path(ca) if ca else None,
    )


def make(environ: Mapping[str, str]) -> ArangoStore:
    """A store there."""
    return ArangoStore(Transport(connection(environ)))


def remote(prefix: str) -> ArangoStore:
    """A store in another process, whose environment holds the variables under a prefix."""
    return make({name.removeprefix(prefix): value for name, value in os.environ.items() if name.startswith(prefix)})


class Arango(StoreFixtures):
    """server: the environment that names it."""

    @pytest.fixture
    def server(self) -> Mapping[str, str]:
        raise NotImplementedError("say which server")

    @pytest.fixture
    def make_store(self, server: Mapping[str, str]) -> MakeStore:
        return lambda: make(server)

    @pytest.fixture
    def factory(self, server: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Factory:
        for name, value in server.items():
            monkeypatch.setenv(f"{_VARIABLE}_{name}", value)  # the password in no argument
        return f"{__name__}:remote", f"{_VARIABLE}_"
