"""A Kubernetes cluster of real processes: etcd, API server, controller manager, scheduler, and our kubelet.

Everything listens on loopback only, keeps its ports and data over a restart, and ends with the process that made it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.engines.crun import Rootfs
from tests.engines.kubernetes import binaries, parts
from tests.engines.kubernetes.kubelet.plan import NodePlan, Plan
from tests.engines.kubernetes.parts import HOST, Ports
from tests.engines.kubernetes.pki import ADMINS, Accounts, Pki
from tests.engines.kubernetes.rest import ApiError, Object, Rest
from tests.engines.process import EngineError, EngineProcess, free_ports
from tests.engines.proxy import Proxy

START_LIMIT_S = 600.0
KUBECTL_LIMIT_S = 360.0
_ROOT = Path(__file__).parents[3]
# The first carries the label that production asks for.
NODES = (NodePlan("node-1", {"streamforge-worker": "true"}), NodePlan("node-2", {}), NodePlan("node-3", {}))


class Cluster:
    """A cluster in `folder`, which holds everything of it: keys, data, logs and what the pods see.

    nodes: what the kubelet registers. environment: variables that every container gets. node_grace_s: without a
    heartbeat for so long a node is lost, generous, since a busy machine must lose none.
    images: containers run in these, by their full names, and in no others; by default in none (kubelet/container.py).
    """

    def __init__(
        self,
        folder: Path,
        *,
        nodes: Sequence[NodePlan] = NODES,
        environment: Mapping[str, str] | None = None,
        node_grace_s: int = 60,
        images: Mapping[str, Rootfs] | None = None,
    ) -> None:
        self.folder = folder
        self._images = dict(images or {})
        self.ports = Ports(*free_ports(7))
        self.server = f"https://{HOST}:{self.ports.api}"
        self.proxied_server = f"https://{HOST}:{self.ports.proxy}"
        self.nodes = tuple(nodes)
        folder.mkdir(parents=True, exist_ok=True)
        self.pki = Pki(folder / "pki")
        admin = self.pki.client("admin", ADMINS)
        self.kubeconfig = self.pki.kubeconfig(folder / "kubeconfig", self.server, admin)
        self.proxied_kubeconfig = self.pki.kubeconfig(folder / "kubeconfig-proxied", self.proxied_server, admin)
        self.admin = Rest(HOST, self.ports.api, self.pki.ca, pem=admin.pem)
        self.accounts = Accounts(self.admin, self.pki.ca, self.server)
        # Not by ServiceAccounts of its own: its identity may do what the controllers together may.
        manager = self._config("system:kube-controller-manager", ADMINS)
        scheduling = self._config("system:kube-scheduler")
        self.etcd = self._process("etcd", parts.etcd(folder / "etcd", self.ports, self.pki))
        self.api_server = self._process("kube-apiserver", parts.api_server(self.ports, self.pki))
        self.controller_manager = self._process(
            "kube-controller-manager", parts.controller_manager(self.ports, self.pki, node_grace_s, manager)
        )
        self.scheduler = self._process(
            "kube-scheduler", parts.scheduler(self.ports, scheduling, folder / "scheduler.yaml")
        )
        self.kubelet = self._process("kubelet", self._kubelet(dict(environment or {})))

    @property
    def processes(self) -> tuple[EngineProcess, ...]:
        """In the order in which they start."""
        return self.etcd, self.api_server, self.controller_manager, self.scheduler, self.kubelet

    # Its life

    def start(self) -> None:
        """Start it and wait until Jobs can run. Raises EngineError, with the end of a log."""
        binaries.build()
        try:
            self.etcd.start()
            self.start_api_server()
            self.controller_manager.start()
            self.scheduler.start()
            self.kubelet.start()
            self._until("its nodes are ready", self._nodes_are_ready)
            self._until("pods get a ServiceAccount", self._default_account)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """End all of it in order. The kubelet comes first and ends what the pods run."""
        for process in reversed(self.processes):
            process.stop()

    def kill(self) -> None:
        """End all of it at once; what the pods run ends with the kubelet."""
        for process in reversed(self.processes):
            process.kill()

    def check(self) -> None:
        """Raise EngineError if a part of it has ended by itself."""
        for process in self.processes:
            process.check()

    def start_api_server(self) -> None:
        """Start the API server alone, as after `api_server.stop()` or `.kill()`, and wait until it serves."""
        self.api_server.start()
        self._until("the API server is ready", self._is_ready)

    def proxy(self) -> Proxy:
        """A proxy in front of the API server, not yet started; clients use `proxied_kubeconfig`. One at a time."""
        return Proxy((HOST, self.ports.proxy), (HOST, self.ports.api))

    def logs(self, limit: int = 3000) -> dict[str, str]:
        """The end of every process's log, by its name."""
        return {process.name: process.log(limit) for process in self.processes}

    # What is in it

    def kubectl(self, *arguments: str, stdin: str | None = None, kubeconfig: Path | None = None) -> str:
        """What kubectl prints; as the administrator by default. Raises EngineError with what it says."""
        command = [str(binaries.folder() / "kubectl"), f"--kubeconfig={kubeconfig or self.kubeconfig}", *arguments]
        # Its cache of what the server knows belongs to this cluster.
        environment = {**os.environ, "KUBECACHEDIR": str(self.folder / "kubectl"), "HOME": str(self.folder)}
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=KUBECTL_LIMIT_S, env=environment
        )
        if done.returncode != 0:
            raise EngineError(f"kubectl {' '.join(arguments)} failed:\n{(done.stdout + done.stderr)[-3000:]}")
        return done.stdout

    def create_namespace(self, name: str) -> None:
        """Make a namespace with Pod Security `restricted`, and wait until pods can be made in it."""
        labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
        self.admin.request("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
        self._until("the namespace has its ServiceAccount", lambda: self._default_account(name))

    def delete_namespace(self, name: str) -> None:
        """Have a namespace and everything in it deleted; does not wait for it."""
        self.admin.request("DELETE", f"/api/v1/namespaces/{name}", {"propagationPolicy": "Background"})

    def annotate(self, path: str, annotations: Mapping[str, str | None]) -> Object:
        """Set annotations of the object at `path`, or remove those given as None."""
        patch = {"metadata": {"annotations": dict(annotations)}}
        return self.admin.request("PATCH", path, patch, kind="application/merge-patch+json")

    # Inside

    def _config(self, name: str, *groups: str) -> Path:
        path = self.folder / f"{name.replace(':', '-')}.kubeconfig"
        return self.pki.kubeconfig(path, self.server, self.pki.client(name, *groups))

    def _process(self, name: str, command: list[str]) -> EngineProcess:
        return EngineProcess(name, command, self.folder / f"{name}.log")

    def _kubelet(self, environment: dict[str, str]) -> list[str]:
        plan = Plan(
            host=HOST,
            api_port=self.ports.api,
            port=self.ports.kubelet,
            ca=str(self.pki.ca),
            client=str(self.pki.client("system:kubelet", ADMINS).pem),
            serving=str(self.pki.kubelet_server),
            folder=str(self.folder / "pods"),
            nodes=list(self.nodes),
            environment=environment,
            version=binaries.version(),
            images=self._images,
        )
        path = self.folder / "kubelet.json"
        path.write_bytes(plan.encode())
        return [sys.executable, "-m", "tests.engines.kubernetes.kubelet", str(path)]

    def _until(self, what: str, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        while True:
            try:
                if holds():
                    return
                last = "not yet"
            except (ApiError, OSError) as error:
                last = str(error)
            self.check()
            if time.monotonic() > deadline:
                tails = "\n".join(f"--- {name}\n{log}" for name, log in self.logs().items())
                raise EngineError(f"after {START_LIMIT_S:.0f} s it does not hold that {what} ({last})\n{tails}")
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        return self.admin.text("GET", "/readyz", limit_s=30) == "ok"

    def _nodes_are_ready(self) -> bool:
        found = {node["metadata"]["name"]: node for node in self.admin.request("GET", "/api/v1/nodes")["items"]}
        wanted = [found[plan.name] for plan in self.nodes if plan.name in found]
        return len(wanted) == len(self.nodes) and all(
            not node["spec"].get("taints")
            and any(
                condition["type"] == "Ready" and condition["status"] == "True"
                for condition in node["status"].get("conditions", [])
            )
            for node in wanted
        )

    def _default_account(self, namespace: str = "default") -> bool:
        self.admin.request("GET", f"/api/v1/namespaces/{namespace}/serviceaccounts/default")
        self.admin.request("GET", f"/api/v1/namespaces/{namespace}/configmaps/kube-root-ca.crt")
        return True
