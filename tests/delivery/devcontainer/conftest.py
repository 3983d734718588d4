"""The devcontainer's image, built once for all its tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.delivery.devcontainer.house import Devcontainer
from tests.engines.tls import Authority


@pytest.fixture(scope="session")
def authority() -> Authority:
    """The CA of the house, made now."""
    return Authority.create("CA of the house")


@pytest.fixture(scope="session")
def devcontainer(authority: Authority) -> Iterator[Devcontainer]:
    found = Devcontainer(authority.pem)
    try:
        yield found
    finally:
        found.close()
