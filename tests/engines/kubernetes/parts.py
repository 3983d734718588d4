"""The command lines of the control plane: loopback only, secured, and quick enough for a thousand Jobs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.engines.kubernetes import binaries
from tests.engines.kubernetes.pki import Pki

HOST = "127.0.0.1"
# Only what StreamForge's objects need. Endpoints, storage and autoscaling have no use here.
CONTROLLERS = (
    "clusterrole-aggregation-controller",
    "cronjob-controller",
    "deployment-controller",
    "disruption-controller",
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    "node-lifecycle-controller",
    "persistentvolume-binder-controller",
    "persistentvolumeclaim-protection-controller",
    "pod-garbage-collector-controller",
    "replicaset-controller",
    "resourcequota-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "taint-eviction-controller",
    "ttl-after-finished-controller",
)


@dataclass(frozen=True)
class Ports:
    """One per listener. proxy: where a proxy in front of the API server listens."""

    etcd: int
    etcd_peer: int
    api: int
    proxy: int
    controllers: int
    scheduler: int
    kubelet: int


def etcd(folder: Path, ports: Ports, pki: Pki) -> list[str]:
    """etcd, which keeps its data in `folder`."""
    client, peer = f"https://{HOST}:{ports.etcd}", f"https://{HOST}:{ports.etcd_peer}"
    return [
        binaries.etcd(),
        f"--data-dir={folder}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        *(f"--cert-file={pki.etcd_server}", f"--key-file={pki.etcd_server}"),
        *(f"--trusted-ca-file={pki.etcd_ca}", "--client-cert-auth=true"),
        *(f"--peer-cert-file={pki.etcd_server}", f"--peer-key-file={pki.etcd_server}"),
        *(f"--peer-trusted-ca-file={pki.etcd_ca}", "--peer-client-cert-auth=true"),
        # The data is worth nothing after the tests.
        "--unsafe-no-fsync=true",
        "--logger=zap",
        "--log-level=warn",
    ]


def api_server(ports: Ports, pki: Pki) -> list[str]:
    """kube-apiserver: RBAC, tokens of ServiceAccounts, client certificates, the default admission plugins."""
    return [
        str(binaries.folder() / "kube-apiserver"),
        f"--etcd-servers=https://{HOST}:{ports.etcd}",
        *(f"--etcd-cafile={pki.etcd_ca}", f"--etcd-certfile={pki.etcd_client}", f"--etcd-keyfile={pki.etcd_client}"),
        *(f"--bind-address={HOST}", f"--advertise-address={HOST}", f"--secure-port={ports.api}"),
        *(f"--tls-cert-file={pki.api_server}", f"--tls-private-key-file={pki.api_server}"),
        f"--client-ca-file={pki.ca}",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki.account_public}",
        f"--service-account-signing-key-file={pki.account_key}",
        *(f"--kubelet-client-certificate={pki.kubelet_client}", f"--kubelet-client-key={pki.kubelet_client}"),
        f"--kubelet-certificate-authority={pki.ca}",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-cluster-ip-range=10.96.0.0/24",
        # Nobody reaches the API through the Service `kubernetes`, and an endpoint may not be on loopback.
        "--endpoint-reconciler-type=none",
        "--profiling=false",
        # A server that is to end does not wait for its watchers.
        "--shutdown-watch-termination-grace-period=0s",
        "--shutdown-delay-duration=0s",
    ]


def controller_manager(ports: Ports, pki: Pki, node_grace_s: int, kubeconfig: Path) -> list[str]:
    """kube-controller-manager with `CONTROLLERS`."""
    return [
        str(binaries.folder() / "kube-controller-manager"),
        f"--kubeconfig={kubeconfig}",
        *(f"--bind-address={HOST}", f"--secure-port={ports.controllers}"),
        "--leader-elect=false",
        f"--controllers={','.join(CONTROLLERS)}",
        f"--root-ca-file={pki.ca}",
        *("--kube-api-qps=500", "--kube-api-burst=1000", "--concurrent-job-syncs=20"),
        f"--node-monitor-grace-period={node_grace_s}s",
        "--node-monitor-period=1s",
        # Nodes of one zone are lost at their own pace, however many they are.
        "--node-eviction-rate=10",
        "--profiling=false",
    ]


def scheduler(ports: Ports, kubeconfig: Path, config: Path) -> list[str]:
    """kube-scheduler; `config` is written."""
    config.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "kubescheduler.config.k8s.io/v1",
                "kind": "KubeSchedulerConfiguration",
                "leaderElection": {"leaderElect": False},
                "clientConnection": {"kubeconfig": str(kubeconfig), "qps": 500, "burst": 1000},
                "enableProfiling": False,
            }
        )
    )
    return [
        str(binaries.folder() / "kube-scheduler"),
        f"--config={config}",
        *(f"--bind-address={HOST}", f"--secure-port={ports.scheduler}"),
    ]
