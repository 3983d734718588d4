"""A cluster as pytest fixtures: one for a whole session, started when a test first asks; namespaces of it per test."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.engines.kubernetes.cluster import Cluster


@pytest.fixture(scope="session")
def kube_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster, shared: a test uses namespaces of its own and leaves all of it running."""
    cluster = Cluster(tmp_path_factory.mktemp("kubernetes"))
    cluster.start()
    try:
        yield cluster
        cluster.check()
    finally:
        cluster.stop()


@pytest.fixture
def kube_namespace(kube_cluster: Cluster) -> Iterator[str]:
    """A namespace with Pod Security `restricted`, deleted after the test."""
    name = f"test-{secrets.token_hex(4)}"
    kube_cluster.create_namespace(name)
    try:
        yield name
    finally:
        kube_cluster.delete_namespace(name)
