"""The settings that say what runs the workers: processes of this machine, or Jobs of a Kubernetes cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from streamforge_utils.model.environment_variable import variable
from streamforge_utils.ports.job_settings import KubernetesSettings

KUBERNETES, PROCESS = "kubernetes", "process"
LAUNCHER = "STREAMFORGE_LAUNCHER"


class LauncherSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What runs the workers."""

    kind: Annotated[
        Literal["process", "kubernetes"] | None,
        variable(
            LAUNCHER,
            "what runs the workers: processes of this machine, or Jobs of a Kubernetes cluster; the variables below "
            "count for the latter",
            default="`process`; queue-manager in a pod: `kubernetes`",
        ),
    ] = None
    kubernetes: KubernetesSettings = KubernetesSettings()

    @property
    def in_kubernetes(self) -> bool:
        """Whether workers are Jobs."""
        return self.kind == KUBERNETES

    def problems(self) -> list[str]:
        """What does not go together, each with the variable to change."""
        found = []
        if self.kubernetes.namespace and self.kind is None:
            found.append(f"K8S_NAMESPACE is set, but {LAUNCHER} is not: set it to {KUBERNETES} to run workers there")
        return found


OUT_OF_REACH = "bus and store are the embedded ones in {folder}, and pods elsewhere do not see that folder"
REACH_STEP = "name brokers in KAFKA_BOOTSTRAP_SERVERS; on one node, a claim in STREAMFORGE_K8S_DATA_CLAIM"
"""What is said of workers in pods whose bus and store are files of the manager's machine, and what to do about it."""


def with_launcher(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ`, saying also what runs the workers where it does not: in a pod of a cluster, Jobs of that cluster."""
    if environ.get(LAUNCHER) or not environ.get("KUBERNETES_SERVICE_HOST"):
        return dict(environ)
    return {**environ, LAUNCHER: KUBERNETES}
