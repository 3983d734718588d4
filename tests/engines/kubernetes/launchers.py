"""Launchers and managers on the tests' cluster, and what their jobs need there."""

from __future__ import annotations

import base64
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from streamforge_utils.adapters.kubernetes.job_launcher import KubernetesLauncher
from streamforge_utils.adapters.kubernetes.manifest import Template
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.job_settings import KubernetesSettings, SecretKey, SecretVariable
from streamforge_utils.ports.store import StateStore
from tests.adapters.kubernetes.templates import changed, role_rules
from tests.engines.kubernetes.cluster import Cluster

SECRET = SecretKey("contract", "password")
TEMPLATE = Template(
    settings=KubernetesSettings(image_registry="local", secret_variables=(SecretVariable("KAFKA_PASSWORD", SECRET),)),
    command=("/bin/sh", "-c", 'eval "$CONTRACT_SCRIPT"'),
)
"""Jobs that run what their variable CONTRACT_SCRIPT says."""


def make(
    cluster: Cluster,
    namespace: str,
    store: StateStore,
    *,
    kubeconfig: Path | None = None,
    clock: Clock | None = None,
    template: Template = TEMPLATE,
    **changes: Any,
) -> KubernetesLauncher:
    """A launcher. kubeconfig: who asks, and by which way; the administrator's otherwise. changes: of the template."""
    template = changed(template, kubeconfig=str(kubeconfig or cluster.kubeconfig), **changes)
    settings = msgspec.structs.replace(template.settings, namespace=namespace)
    return KubernetesLauncher(msgspec.structs.replace(template, settings=settings), store, clock=clock)


def manager_account(cluster: Cluster, namespace: str, path: Path, *, server: str | None = None) -> Path:
    """The kubeconfig of a ServiceAccount that has the rights a manager needs, and no other. server: another URL."""
    name = f"manager-{secrets.token_hex(3)}"
    cluster.accounts.create(namespace, name, role_rules())
    return cluster.accounts.kubeconfig(path, namespace, name, server=server)


def manager_settings(cluster: Cluster, namespace: str, *, kubeconfig: Path, **more: str) -> dict[str, str]:
    """The settings of a manager whose workers are Jobs of the cluster. The images are the services of this checkout."""
    return {
        "STREAMFORGE_LAUNCHER": "kubernetes",
        "KUBECONFIG": str(kubeconfig),
        "K8S_NAMESPACE": namespace,
        "STREAMFORGE_IMAGE_REGISTRY": "local/streamforge",
        "STREAMFORGE_START_SECONDS": "60",
        **more,
    }


def create_secret(cluster: Cluster, namespace: str, name: str, values: Mapping[str, str]) -> None:
    """Make a Secret."""
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    cluster.admin.request("POST", f"/api/v1/namespaces/{namespace}/secrets", {"metadata": {"name": name}, "data": data})


@contextmanager
def shared_folder() -> Iterator[Path]:
    """A folder that the test and its pods both know by one path: none below `/tmp`, which every pod has for itself."""
    with tempfile.TemporaryDirectory(prefix="streamforge-", dir="/var/tmp", ignore_cleanup_errors=True) as path:
        yield Path(path)
