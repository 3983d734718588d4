"""The launcher on Kubernetes keeps the contract of the launcher, on a real control plane and with no right too many."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contracts.launcher import LauncherContract, MakeLauncher
from tests.doubles.memorystore import MemoryStore
from tests.engines.kubernetes import launchers
from tests.engines.kubernetes.cluster import Cluster

pytestmark = pytest.mark.timeout(300)


class TestKubernetesLauncher(LauncherContract):
    patience_s = 60.0
    others_at_once = False

    @pytest.fixture
    def make_launcher(self, kube_cluster: Cluster, kube_namespace: str, tmp_path: Path) -> MakeLauncher:
        launchers.create_secret(kube_cluster, kube_namespace, launchers.SECRET.name, {"password": "s3cret-word"})
        account = launchers.manager_account(kube_cluster, kube_namespace, tmp_path / "kubeconfig")
        store = MemoryStore()
        return lambda: launchers.make(kube_cluster, kube_namespace, store, kubeconfig=account)

    @pytest.fixture
    def file(self) -> Iterator[Path]:
        with launchers.shared_folder() as folder:
            yield folder / "contract-file"
