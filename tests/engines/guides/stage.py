"""A cluster on which the guides are run as they are written, and what stands in for the rest of a real one.

Kafka is a real secured broker with the users of `cred-kafka-yaml/`, ArangoDB a double, the exchange the test exchange.
"""

from __future__ import annotations

import shlex
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from streamforge_utils.adapters.kafka_apply.provisioner import ManifestProvisioner
from tests import guides
from tests.doubles.arangoprocess import ArangoProcess
from tests.e2e import rig
from tests.engines.kafka import buses
from tests.engines.kafka.broker import Broker
from tests.engines.kubernetes import binaries, launchers
from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.house import NAMESPACE, addresses, empty, outside
from tests.engines.kubernetes.parts import HOST
from tests.engines.kubernetes.rest import ApiError, Object
from tests.engines.process import EngineError, free_ports
from tests.manifests.workers import environment
from tests.places import ROOT
from tools import manifests

_LOOK_S = 0.2
_STRIMZI = f"/apis/kafka.strimzi.io/v1/namespaces/{NAMESPACE}"
_ARANGO = "/apis/database.arangodb.com/v1/namespaces/arangodb/arangodeployments"
CA_SECRET = "streamforge-cluster-ca-cert"

# `exec` runs the same program with the pod's environment, `port-forward` has nothing to forward: it is the port itself.
_KUBECTL = """\
#!/bin/bash
for word in "$@"; do case $word in
    exec)
        while [[ $1 != -- ]]; do shift; done
        shift
        set -a; source {folder}/pod.env; set +a
        exec "$@" ;;
    port-forward)
        echo "Forwarding from {host}:{port} -> 8080"
        exec sleep 86400 ;;
    --) break ;;
esac; done
exec {kubectl} "$@"
"""


class Operators:
    """What stands in for Strimzi and kube-arangodb: it says `Ready`, and makes the Secrets, of what the broker knows.

    A user's Secret that is deleted is made again with another password, as the User Operator does.
    """

    def __init__(self, cluster: Cluster, broker: Broker, folder: Path) -> None:
        self._cluster, self._broker, self._folder = cluster, broker, folder
        self._made = set[str]()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="operators")
        self.failed: list[str] = []

    def password(self, user: str) -> str:
        """What the broker knows the user by."""
        return (self._folder / user / "password").read_text()

    def __enter__(self) -> Operators:
        self.provision()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)

    def provision(self, *rotate: str) -> None:
        """Make topics, users and rules on the broker; another password for `rotate`."""
        connection = buses.connection(self._broker)
        provisioner = ManifestProvisioner(connection, ROOT / "cred-kafka-yaml", secrets=self._folder, rotate=rotate)
        try:
            provisioner.plan()
            list(provisioner.apply())
        finally:
            provisioner.close()

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_S):
            try:
                self._look()
            except (ApiError, OSError) as error:  # the namespace is not there, or about to go
                self.failed.append(str(error))
                del self.failed[:-5]

    def _look(self) -> None:
        for kind in ("kafkas", "kafkatopics", "kafkausers"):
            for one in self._cluster.admin.request("GET", f"{_STRIMZI}/{kind}")["items"]:
                name = one["metadata"]["name"]
                if kind == "kafkas":
                    assert self._broker.ca_path is not None
                    self._secret(CA_SECRET, {"ca.crt": self._broker.ca_path.read_text()})
                    # The CA's own, with its key, which nobody but the operator reads.
                    self._secret(CA_SECRET.removesuffix("-cert"), {"ca.key": "a stand-in's"})
                elif kind == "kafkausers":
                    self._user(name)
                if not (one.get("status") or {}).get("conditions"):
                    self._ready(f"{_STRIMZI}/{kind}/{name}")

        for one in self._cluster.admin.request("GET", _ARANGO)["items"]:
            assert self._broker.ca_path is not None
            ca = {"ca.crt": self._broker.ca_path.read_text(), "ca.key": "a stand-in's"}
            self._secret(one["spec"]["tls"]["caSecretName"], ca, "arangodb")
            root = one["spec"]["bootstrap"]["passwordSecretNames"]["root"]
            self._secret(root, {"username": "root", "password": "a stand-in's"}, "arangodb")
            if not (one.get("status") or {}).get("conditions"):
                self._ready(f"{_ARANGO}/{one['metadata']['name']}", status="")

    def _user(self, name: str) -> None:
        if self._there(name):
            return
        if name in self._made:
            self.provision(name)
        self._made.add(name)
        self._secret(name, {"password": self.password(name)})

    def _ready(self, path: str, *, status: str = "/status") -> None:
        condition = {"type": "Ready", "status": "True", "lastTransitionTime": "2024-08-01T00:00:00Z"}
        body = {"status": {"conditions": [condition]}}
        self._cluster.admin.request("PATCH", f"{path}{status}", body, kind="application/merge-patch+json")

    def _there(self, name: str, namespace: str = NAMESPACE) -> bool:
        with suppress(ApiError):
            self._cluster.admin.request("GET", f"/api/v1/namespaces/{namespace}/secrets/{name}")
            return True
        return False

    def _secret(self, name: str, values: dict[str, str], namespace: str = NAMESPACE) -> None:
        if not self._there(name, namespace):
            launchers.create_secret(self._cluster, namespace, name, values)


@dataclass(frozen=True)
class Stage:
    """Where guides are run. folder: what stands for the checkout; port: where the API of queue-manager is."""

    cluster: Cluster
    broker: Broker
    operators: Operators
    exchange: rig.Exchange
    folder: Path
    scratch: Path
    port: int
    environ: dict[str, str]

    @property
    def url(self) -> str:
        """The API of queue-manager."""
        return f"http://{HOST}:{self.port}"

    @property
    def replaced(self) -> dict[str, str]:
        """The one thing of a page that is another here: the port, which others on this machine may use."""
        return {"http://127.0.0.1:8080": self.url}

    def kubectl(self, *arguments: str) -> str:
        """What kubectl prints, in the namespace."""
        return self.cluster.kubectl(f"--namespace={NAMESPACE}", *arguments)

    def objects(self) -> list[Object]:
        """The production overlay of `folder`."""
        command = [str(binaries.folder() / "kubectl"), "kustomize"]
        return manifests.objects(
            manifests.build(command, self.folder / manifests.OVERLAYS / "production", self.folder), "production"
        )

    def story(self) -> str:
        """What became of the manager."""
        try:
            return self.kubectl("get", "pods,events") + self.kubectl("logs", "deployment/queue-manager", "--tail=40")
        except EngineError as error:
            return str(error)


@contextmanager
def opened(cluster: Cluster, scratch: Path) -> Iterator[Stage]:
    """A stage until the end of the block: a cluster without the namespace, everything else ready for it."""
    with ExitStack() as stack:
        broker = Broker(scratch / "broker", secured=True)
        broker.start()
        stack.callback(broker.stop)
        arango = ArangoProcess(scratch / "arango")
        stack.callback(arango.kill)
        exchange = stack.enter_context(rig.exchange("--seed", "7"))
        stack.enter_context(empty(cluster))
        operators = stack.enter_context(Operators(cluster, broker, scratch / "passwords"))
        folder = guides.checkout(scratch / "checkout", without=("build", "deploy"))
        shutil.copytree(ROOT / "deploy", folder / "deploy")
        port, metrics = free_ports(2)
        stage = Stage(cluster, broker, operators, exchange, folder, scratch, port, _environ(cluster, scratch, port))
        _address(stage, arango, metrics)
        _write_pod_environment(stage)
        stack.callback(_end, stage)
        yield stage


def _environ(cluster: Cluster, scratch: Path, port: int) -> dict[str, str]:
    commands = scratch / "bin"
    commands.mkdir()
    real = shlex.quote(str(binaries.folder() / "kubectl"))
    (commands / "kubectl").write_text(
        _KUBECTL.format(folder=shlex.quote(str(scratch)), host=HOST, port=port, kubectl=real)
    )
    (commands / "kubectl").chmod(0o755)
    environ = guides.environment(scratch / "home")
    path = f"{commands}:{ROOT / '.venv' / 'bin'}:{environ['PATH']}"
    return environ | {"PATH": path, "KUBECONFIG": str(cluster.kubeconfig), "KUBECACHEDIR": str(scratch / "kubectl")}


def _address(stage: Stage, arango: ArangoProcess, metrics: int) -> None:
    """Give the settings in `folder` the addresses of this stage."""
    found = arango.environment()
    own, workers = addresses(stage.cluster, stage.broker, found, stage.exchange.url, stage.port, metrics)
    base = stage.folder / "deploy" / "base"
    _set(base / "queue-manager.env", own)
    _set(base / "workers.env", workers)
    deployment = base / "deployment.yaml"
    text = deployment.read_text("utf-8").replace("containerPort: 8080", f"containerPort: {stage.port}")
    deployment.write_text(text.replace("containerPort: 8000", f"containerPort: {metrics}"), "utf-8")


def _set(file: Path, values: dict[str, str]) -> None:
    lines = [line for line in file.read_text("utf-8").splitlines() if line.partition("=")[0] not in values]
    file.write_text("\n".join([*lines, *(f"{name}={value}" for name, value in values.items())]) + "\n", "utf-8")


def _write_pod_environment(stage: Stage) -> None:
    """For `kubectl exec`: what queue-manager's container gets, with files where a pod has them mounted."""
    password = stage.operators.password("user-streamforge-manager")
    found = outside(environment(stage.objects()), stage.broker, password, stage.scratch / "account")
    text = "".join(f"{name}={shlex.quote(value)}\n" for name, value in found.items())
    (stage.scratch / "pod.env").write_text(text, "utf-8")


def _end(stage: Stage) -> None:
    """queue-manager goes before the servers that it speaks to: it is to end in order."""
    with suppress(EngineError):
        stage.kubectl("delete", "deployment", "queue-manager", "--ignore-not-found", "--timeout=50s")
