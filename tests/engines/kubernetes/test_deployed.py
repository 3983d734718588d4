"""The production overlay at work: queue-manager as its Deployment starts it, a workflow by its API, workers as Jobs.

Everything is as shipped but the addresses: Kafka is a real secured broker with the users of `cred-kafka-yaml/`,
ArangoDB a double, the exchange the test exchange, and what listens does so on loopback.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from streamforge_utils.adapters.kafka_apply.provisioner import ManifestProvisioner
from tests import cleanenv
from tests.doubles.arangoprocess import PASSWORD, ArangoProcess
from tests.e2e import rig
from tests.engines.kafka import buses
from tests.engines.kafka.broker import Broker
from tests.engines.kubernetes import binaries, launchers
from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.house import NAMESPACE, addresses, outside, prepared
from tests.engines.kubernetes.jobs import Namespace, until
from tests.engines.kubernetes.parts import HOST
from tests.engines.kubernetes.rest import Object
from tests.engines.process import free_ports
from tests.manifests.rules import of_kind
from tests.manifests.schemas import ROOT
from tests.manifests.workers import environment
from tools import manifests

LIMIT_S = 600.0
USERS = ("user-streamforge-manager", "user-streamforge-worker")
_MANAGER = "labelSelector=app.kubernetes.io/name%3Dqueue-manager"


@dataclass(frozen=True)
class Deployed:
    """queue-manager in its namespace, and what speaks to it. settings: its own, for who is outside of the pod."""

    namespace: Namespace
    url: str
    metrics: str
    token: str
    settings: dict[str, str]

    def pods(self) -> list[Object]:
        """The pods of queue-manager that are not about to go."""
        found: list[Object] = self.namespace.rest.request("GET", f"{self.namespace.path}/pods?{_MANAGER}")["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def ready(self) -> bool:
        """Whether bus, store and launcher work for it."""
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=60) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def command(self, *arguments: str) -> Object:
        """What the command line says as JSON, with the operator's token."""
        done = subprocess.run(
            [sys.executable, "-m", "streamforge.cli", *arguments, "--server", self.url, "--json"],
            env=cleanenv.environment(STREAMFORGE_TOKEN=self.token),
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        assert done.returncode == 0, f"{done.stdout[-2000:]}{done.stderr[-2000:]}{self.story()}"
        found: Object = json.loads(done.stdout)
        return found

    def story(self) -> str:
        """What became of queue-manager."""
        told = [f"\n{pod['metadata']['name']}: {pod['status']}\n{self._log(pod)}" for pod in self.pods()]
        return "".join(told)[-8000:]

    def _log(self, pod: Object) -> str:
        try:
            return self.namespace.log(pod)
        except Exception as error:
            return f"no log: {error}"


@pytest.fixture(scope="module")
def deployed(kube_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    folder = tmp_path_factory.mktemp("deployed")
    broker = Broker(folder / "broker", secured=True)
    broker.start()
    arango = ArangoProcess(folder / "arango")
    try:
        provisioner = ManifestProvisioner(
            buses.connection(broker), ROOT / "cred-kafka-yaml", secrets=folder / "secrets"
        )
        provisioner.plan()
        list(provisioner.apply())
        provisioner.close()
        with rig.exchange("--seed", "7") as exchange, prepared(kube_cluster):
            api, metrics = free_ports(2)
            token = secrets.token_hex(16)
            _make_secrets(kube_cluster, broker, folder / "secrets", token)
            where = addresses(kube_cluster, broker, arango.environment(), exchange.url, api, metrics)
            objects = _addressed(*where)
            kube_cluster.kubectl("apply", "--filename=-", stdin=yaml.safe_dump_all(objects))
            account = kube_cluster.accounts.kubeconfig(folder / "kubeconfig", NAMESPACE, "queue-manager")
            password = (folder / "secrets" / USERS[0] / "password").read_text()
            found = Deployed(
                Namespace(kube_cluster.admin, NAMESPACE),
                f"http://{HOST}:{api}",
                f"http://{HOST}:{metrics}/metrics",
                token,
                outside(environment(objects), broker, password, account),
            )
            _until_ready(found)
            yield found
            # Before the servers that it speaks to: it is to end in order.
            kube_cluster.kubectl(f"--namespace={NAMESPACE}", "delete", "deployment", "queue-manager", "--timeout=300s")
            until("queue-manager has ended", lambda: not found.pods())
    finally:
        arango.kill()
        broker.stop()


def _make_secrets(cluster: Cluster, broker: Broker, passwords: Path, token: str) -> None:
    """What Strimzi, kube-arangodb and a person make."""
    assert broker.ca_path is not None
    made = {name: {"password": (passwords / name / "password").read_text()} for name in USERS} | {
        "streamforge-cluster-ca-cert": {"ca.crt": broker.ca_path.read_text()},
        "arangodb-streamforge": {"password": PASSWORD},
        "arangodb-ca": {"ca.crt": "the double speaks plainly"},
        "queue-manager-tokens": {"tokens": f"operator:{token}\n"},
        "regcred": {".dockerconfigjson": "{}"},
    }
    for name, values in made.items():
        launchers.create_secret(cluster, NAMESPACE, name, values)


def _addressed(own: dict[str, str], workers: dict[str, str]) -> list[Object]:
    """The overlay with the addresses of the tests."""
    command = [str(binaries.folder() / "kubectl"), "kustomize"]
    objects = manifests.objects(manifests.build(command, ROOT / manifests.OVERLAYS / "production"), "production")
    for one in of_kind(objects, "ConfigMap"):
        if "grafana_dashboard" in one["metadata"]["labels"]:
            continue  # it holds no settings
        if one["metadata"]["name"] == "streamforge-worker":
            one["data"] |= workers
        else:
            one["data"] |= own
            # In a pod it finds out by itself.
            del one["data"]["STREAMFORGE_LAUNCHER"]
    for deployment in of_kind(objects, "Deployment"):
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        container["env"] = [one for one in container["env"] if one["name"] != "K8S_NAMESPACE"]
    return objects


def _until_ready(deployed: Deployed) -> None:
    try:
        until("queue-manager is ready", deployed.ready, limit_s=LIMIT_S)
    except Exception as error:
        raise AssertionError(f"{error}{deployed.story()}") from error


def test_a_day_is_loaded_and_proven_through_the_deployed_manager(kube_cluster: Cluster, deployed: Deployed) -> None:
    ended = deployed.command("load", "BTCUSDT", "api_candles_1m", "2024-08-01")
    assert (ended["status"], ended["records_stored"]) == ("finished", 1440), deployed.story()
    jobs = kube_cluster.admin.request("GET", f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs")["items"]
    code = ended["queue_id"][-6:]
    assert sorted(job["metadata"]["name"] for job in jobs) == [
        f"job-arango-candles-btcusdt-{code}",
        f"job-loader-api-candles-btcusdt-{code}",
    ]
    for job in jobs:
        name = job["metadata"]["name"]
        assert deployed.namespace.ended(name) == "Complete"
        (pod,) = deployed.namespace.pods(name)
        # The node that is labelled for workers.
        assert pod["spec"]["nodeName"] == "node-1"
        assert pod["spec"]["priority"] == -100
        (container,) = pod["spec"]["containers"]
        assert container["image"].startswith("registry.dmz.home/streamforge/")
    text = json.dumps(jobs)
    assert deployed.token not in text
    assert PASSWORD not in text


def test_doctor_finds_that_everything_works_with_the_shipped_account(deployed: Deployed, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "streamforge.cli", "doctor", "--data", str(tmp_path / "data"), "--json"]
    own = {name: os.environ[name] for name in ("PATH", "HOME")}
    done = subprocess.run(command, env=own | deployed.settings, capture_output=True, text=True, timeout=LIMIT_S)
    checks = {check["part"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.returncode == 0, done.stdout
    for part in ("settings", "store", "launcher", "rights", "jobs"):
        assert checks[part]["verdict"] == "works", checks
    # It may not read Secrets, and says so.
    assert checks["secrets"]["verdict"] == "careful"
    assert "may not get secret user-streamforge-worker" in checks["secrets"]["detail"]
    # The manager's user writes no records.
    assert checks["bus"]["verdict"] == "careful"
    assert PASSWORD not in done.stdout + done.stderr


def test_who_has_no_token_gets_in_nowhere_but_at_the_metrics_that_the_alerts_look_at(deployed: Deployed) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{deployed.url}/queues", timeout=60)
    refused.value.close()
    assert refused.value.code == 401
    with urllib.request.urlopen(deployed.metrics, timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    assert 'streamforge_workflow_changes_total{status="error",target="queue-manager"} 0.0' in lines
    assert 'streamforge_reconcile_failures_total{target="queue-manager"} 0.0' in lines


def test_a_new_pod_knows_what_the_old_one_did(kube_cluster: Cluster, deployed: Deployed) -> None:
    before = deployed.command("queues")
    (old,) = deployed.pods()
    kube_cluster.kubectl(f"--namespace={NAMESPACE}", "delete", "pod", old["metadata"]["name"], "--timeout=300s")
    until("another pod", lambda: [pod for pod in deployed.pods() if pod["metadata"]["uid"] != old["metadata"]["uid"]])
    _until_ready(deployed)
    assert deployed.command("queues") == before
