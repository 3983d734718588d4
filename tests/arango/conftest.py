"""What the tests on ArangoDB share; `make test-double` runs them on a double, `make test-arango` on a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.arango import servers
from tests.doubles import arangoprocess
from tests.doubles.arangoprocess import ArangoProcess


@pytest.fixture(scope="session")
def shared_double(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArangoProcess]:
    """A double of 3.12 that nobody breaks: each test has a database of its own."""
    with arangoprocess.running(tmp_path_factory.mktemp("shared-double")) as found:
        yield found


@pytest.fixture(scope="session")
def databases(request: pytest.FixtureRequest) -> Iterator[servers.Databases]:
    """Databases on the real server that `ARANGO_URL` names, else on the double."""
    named = servers.real()
    found = servers.Databases(named if named is not None else request.getfixturevalue("shared_double").environment())
    yield found
    found.drop()
