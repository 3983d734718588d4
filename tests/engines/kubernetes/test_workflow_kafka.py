"""A workflow whose workers are Jobs and whose bus is a secured Kafka: the workers' own user, its password and the CA
come from Secrets, laid out as Strimzi does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamforge_utils.adapters.kafka_apply.provisioner import ManifestProvisioner
from tests.e2e import rig
from tests.engines.kafka import buses
from tests.engines.kafka.broker import Broker, User
from tests.engines.kubernetes import launchers, managers
from tests.engines.kubernetes.cluster import Cluster
from tests.places import ROOT

# The same is asked, with more that ships, by `test_deployed.py`.
pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]

START_MS = 1_722_470_400_000
LIMIT_S = 150.0
MANAGER, WORKER = "user-streamforge-manager", "user-streamforge-worker"


class Kafka:
    """A secured broker with the topics and users that ship."""

    def __init__(self, folder: Path) -> None:
        self.broker = Broker(folder / "broker", secured=True)
        self._secrets = folder / "secrets"
        self.broker.start()
        provisioner = ManifestProvisioner(
            buses.connection(self.broker), ROOT / "cred-kafka-yaml", secrets=self._secrets
        )
        provisioner.plan()
        assert list(provisioner.apply())
        provisioner.close()

    def user(self, name: str) -> User:
        return User(name, (self._secrets / name / "password").read_text())


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    found = Kafka(tmp_path_factory.mktemp("kafka"))
    yield found
    found.broker.stop()


def test_a_day_is_loaded_over_kafka_with_the_least_rights_everywhere(
    kube_cluster: Cluster, kube_namespace: str, kafka: Kafka, folder: Path, tmp_path: Path
) -> None:
    worker = kafka.user(WORKER)
    assert kafka.broker.ca_path is not None
    launchers.create_secret(kube_cluster, kube_namespace, WORKER, {"password": worker.password})
    launchers.create_secret(
        kube_cluster, kube_namespace, "streamforge-cluster-ca-cert", {"ca.crt": kafka.broker.ca_path.read_text()}
    )
    account = launchers.manager_account(kube_cluster, kube_namespace, tmp_path / "kubeconfig")
    settings = {
        **managers.settings(kube_cluster, kube_namespace, kubeconfig=account),
        **kafka.broker.environment(kafka.user(MANAGER)),
        "STREAMFORGE_K8S_WORKER_ENV": f"KAFKA_USER={WORKER}",
        "STREAMFORGE_K8S_SECRET_ENV": f"KAFKA_PASSWORD={WORKER}/password",
        "STREAMFORGE_K8S_KAFKA_CA_SECRET": "streamforge-cluster-ca-cert/ca.crt",
    }
    with rig.exchange("--seed", "7") as exchange, rig.manager(folder / "data", exchange.url, **settings) as manager:
        queue_id = manager.start_load("BTCUSDT", "api_candles_1m", "2024-08-01")["queue_id"]
        workflow = manager.wait(queue_id, limit_s=LIMIT_S)
        assert workflow["status"] == "finished", manager.story(queue_id)
        rows = exchange.oracle("BTCUSDT", "1m", START_MS, START_MS + rig.DAY_MS)
        assert manager.csv(workflow["collection"]) == rig.expected_csv("BTCUSDT", "1m", rows)
        told = manager.log()
    assert not (folder / "data" / "bus").exists(), "the bus was Kafka"
    everything = json.dumps(
        [*managers.jobs(kube_cluster, kube_namespace), *managers.pods(kube_cluster, kube_namespace)]
    )
    for user in (worker, kafka.user(MANAGER)):
        assert user.password not in everything + told
