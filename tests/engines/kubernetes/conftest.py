"""Fixtures of most tests on the cluster: a namespace, a folder, the test exchange, the settings of a manager."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import rig
from tests.engines.kubernetes import launchers
from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.jobs import Namespace


@pytest.fixture
def namespace(kube_cluster: Cluster, kube_namespace: str) -> Namespace:
    """Jobs and pods of the test's namespace, in which the Secret lies that the launchers' jobs refer to."""
    launchers.create_secret(kube_cluster, kube_namespace, launchers.SECRET.name, {"password": "s3cret-word"})
    return Namespace(kube_cluster.admin, kube_namespace)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the test and its pods both know by one path."""
    with launchers.shared_folder() as found:
        yield found


@pytest.fixture(scope="session")
def running_exchange() -> Iterator[rig.Exchange]:
    with rig.exchange("--seed", "7") as found:
        yield found


@pytest.fixture
def exchange(running_exchange: rig.Exchange) -> Iterator[rig.Exchange]:
    """The test exchange, without any fault at the beginning."""
    yield running_exchange
    running_exchange.reset()


@pytest.fixture
def settings(kube_cluster: Cluster, kube_namespace: str, tmp_path: Path) -> dict[str, str]:
    """Of a manager that has the rights that ship and no others."""
    account = launchers.manager_account(kube_cluster, kube_namespace, tmp_path / "kubeconfig")
    return launchers.manager_settings(kube_cluster, kube_namespace, kubeconfig=account)
