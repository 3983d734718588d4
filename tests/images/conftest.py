"""The images, built once: what fails here is a build, and the message is the builder's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engines.conftest import pytest_runtest_makereport
from tests.engines.kafka.buses import secured_broker
from tests.engines.kubernetes.cluster import Cluster
from tests.images.house import House

__all__ = ["pytest_runtest_makereport", "secured_broker"]


@pytest.fixture(scope="session")
def house() -> Iterator[House]:
    """Every image, built as `make images` does."""
    found = House()
    try:
        found.build_all()
        yield found
    finally:
        found.close()


@pytest.fixture(scope="session")
def kube_cluster(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose pods are containers of the images, and of no others."""
    found = Cluster(tmp_path_factory.mktemp("kubernetes"), images=house.roots())
    found.start()
    try:
        yield found
        found.check()
    finally:
        found.stop()
