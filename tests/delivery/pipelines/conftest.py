"""One clone for the tests of a process."""

from __future__ import annotations

import pytest

from tests.delivery.pipelines import checkout
from tests.places import ROOT


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> checkout.Checkout:
    return checkout.make(tmp_path_factory.mktemp("clone") / "streamforge")


@pytest.fixture
def repository(clone: checkout.Checkout) -> checkout.Checkout:
    """The clone, on its default branch and without changes."""
    clone.branch()
    return clone


@pytest.fixture(scope="session")
def services() -> list[str]:
    return sorted(path.name for path in (ROOT / "services").iterdir() if path.is_dir())
