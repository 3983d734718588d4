"""The guides for a cluster, each of their commands as it is written; then what a person would see."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from streamforge_utils.adapters.kafka.kafka_bus import KafkaBus
from streamforge_utils.model.errors import StreamForgeError
from tests import guides
from tests.doubles.arangoprocess import PASSWORD
from tests.engines.guides import stage as stages
from tests.engines.guides.stage import Stage
from tests.engines.kafka import buses
from tests.engines.kafka.broker import Broker, User
from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.house import NAMESPACE
from tests.limits import LIMIT_S

DEPLOYMENT, ROTATION = "docs/how-to/kubernetes-deployment.md", "docs/how-to/rotation.md"
LAST = "Take it away"
REGISTRY_LOGIN = "puller:a made-up one"
DAY = (1_722_470_400_000, 1_722_556_800_000)


@pytest.fixture(scope="module")
def deployed(kube_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The deployment guide, from its first step to the one before it is taken away, on an empty cluster."""
    with _labels_kept(kube_cluster), stages.opened(kube_cluster, tmp_path_factory.mktemp("guides")) as stage:
        last = guides.steps(DEPLOYMENT, LAST)
        _run(stage, DEPLOYMENT, [step for step in guides.steps(DEPLOYMENT) if step not in last])
        yield stage


@contextmanager
def _labels_kept(cluster: Cluster) -> Iterator[None]:
    """The guide labels every node of a cluster that other tests use after it."""

    def labels() -> dict[str, dict[str, str]]:
        nodes = cluster.admin.request("GET", "/api/v1/nodes")["items"]
        return {node["metadata"]["name"]: node["metadata"].get("labels", {}) for node in nodes}

    before = labels()
    try:
        yield
    finally:
        for name, found in labels().items():
            patch = {"metadata": {"labels": {**dict.fromkeys(found), **before[name]}}}
            cluster.admin.request("PATCH", f"/api/v1/nodes/{name}", patch, kind="application/merge-patch+json")
        assert labels() == before


def _run(stage: Stage, page: str, steps: Sequence[guides.Step]) -> None:
    scratch = stage.scratch / f"{page.replace('/', '-')}-{steps[0].line}"
    scratch.mkdir()
    with guides.opened(page, stage.folder, stage.environ, scratch, stage.replaced) as guide:
        for step in steps:
            _before(stage, step.text)
            try:
                guide.step(step, limit_s=LIMIT_S)
            except guides.GuideError as error:
                raise AssertionError(f"{error}\n--- the manager:\n{stage.story()}") from error
            if "openssl rand -hex 24" in step.text:
                # arangosh would give the user this password; the double's is another.
                (stage.folder / "build/secrets/arangodb-password").write_text(PASSWORD)


def _before(stage: Stage, text: str) -> None:
    """What a person has brought before a step: certificates of others."""
    secrets = stage.folder / "build" / "secrets"
    if "registry-login" in text:
        (secrets / "registry-login").write_text(f"{REGISTRY_LOGIN}\n")
    if "arangodb-ca.crt" in text and "--dry-run" in text:  # the next CA's, in the guide to rotation
        assert stage.broker.ca_path is not None
        (secrets / "arangodb-ca.crt").write_text(stage.broker.ca_path.read_text())
    if "tls.crt" in text:
        command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=streamforge.dmz.home"
        files = ["-keyout", str(secrets / "tls.key"), "-out", str(secrets / "tls.crt")]
        subprocess.run([*command.split(), *files], check=True, capture_output=True, timeout=60)
    if "streamforge doctor" in text:
        stage.cluster.accounts.kubeconfig(stage.scratch / "account", NAMESPACE, "queue-manager")


def _secret(stage: Stage, name: str, key: str) -> str:
    found = json.loads(stage.kubectl("get", "secret", name, "--output=json"))["data"]
    return base64.b64decode(found[key]).decode()


def _token(stage: Stage, role: str) -> str:
    lines = (stage.folder / "build/secrets/tokens").read_text().splitlines()
    return next(line.partition(":")[2] for line in lines if line.startswith(role))


def _client(stage: Stage, token: str) -> httpx.Client:
    return httpx.Client(base_url=stage.url, headers={"Authorization": f"Bearer {token}"}, timeout=30)


def test_the_deployment_guide_leads_from_an_empty_cluster_to_a_proven_day_and_over_an_upgrade(deployed: Stage) -> None:
    with _client(deployed, _token(deployed, "reader")) as client:
        (queue,) = client.get("/queues").json()["queues"]
        assert (queue["status"], queue["progress"]["records_stored"]) == ("finished", 1440)
        path, csv = f"/collections/{queue['collection']}/records", {"Accept": "text/csv"}
        records = client.get(path, headers=csv, params={"limit": 2000}).text.splitlines()
        assert client.post("/queues/start", json={}).status_code == 403
    rows = deployed.exchange.oracle("BTCUSDT", "1m", *DAY)
    assert [int(line.split(",")[2]) for line in records[1:]] == [row[0] for row in rows]
    assert len(rows) == 1440
    login = json.loads(_secret(deployed, "regcred", ".dockerconfigjson"))["auths"]["registry.dmz.home"]["auth"]
    assert base64.b64decode(login).decode() == REGISTRY_LOGIN
    assert deployed.broker.ca_path is not None
    assert _secret(deployed, "arangodb-ca", "ca.crt") == deployed.broker.ca_path.read_text()
    # Installed, upgraded, failed, rolled back, and the older version again.
    revisions = deployed.kubectl("rollout", "history", "deployment/queue-manager").splitlines()
    assert len([line for line in revisions if line[:1].isdigit()]) >= 3


def test_passwords_tokens_and_certificates_are_changed_under_a_deployed_manager(deployed: Stage) -> None:
    users = ("user-streamforge-manager", "user-streamforge-worker")
    before = {user: deployed.operators.password(user) for user in users}
    old = _token(deployed, "operator")
    _run(deployed, ROTATION, guides.steps(ROTATION, "In a cluster"))
    with _client(deployed, old) as client:
        assert client.get("/queues").status_code == 401
    with _client(deployed, _token(deployed, "reader")) as client:
        assert [queue["status"] for queue in client.get("/queues").json()["queues"]] == ["finished", "finished"]
    for user in users:
        assert deployed.operators.password(user) != before[user]


def test_taking_queue_manager_away_leaves_kafka_and_secrets_and_the_rest_goes_after_it(deployed: Stage) -> None:
    alone, everything = guides.steps(DEPLOYMENT, LAST)
    _run(deployed, DEPLOYMENT, [alone])
    assert "deployment" not in deployed.kubectl("get", "deployments,services,roles", "--output=name")
    left = deployed.kubectl("get", "kafkas,kafkatopics,secrets", "--output=name").split()
    for one in ("kafka.kafka.strimzi.io/streamforge", "secret/queue-manager-tokens", "secret/user-streamforge-worker"):
        assert one in left
    _run(deployed, DEPLOYMENT, [everything])
    namespaces = deployed.kubectl("get", "namespaces", "--output=name").split()
    assert {"namespace/stf", "namespace/arangodb"}.isdisjoint(namespaces)


async def test_a_password_is_rotated_where_no_operator_looks_after_kafka(
    secured_broker: Broker, tmp_path: Path
) -> None:
    folder = guides.checkout(tmp_path / "checkout")
    environ = guides.environment(tmp_path / "home") | secured_broker.environment()
    file = folder / "kafka-secrets" / "user-streamforge-worker" / "password"
    passwords = []
    with guides.opened(ROTATION, folder, environ, tmp_path) as guide:
        for step in guides.steps(ROTATION, "Kafka without an operator"):
            guide.step(step)
            passwords.append(file.read_text())
    first, *_, last = passwords
    assert first != last
    await _connects(secured_broker, User("user-streamforge-worker", last))
    with pytest.raises(StreamForgeError, match="KAFKA_PASSWORD"):
        await _connects(secured_broker, User("user-streamforge-worker", first))


async def _connects(broker: Broker, user: User) -> None:
    bus = KafkaBus(buses.connection(broker, user))
    try:
        assert "queue-events" in await bus.topics()
    finally:
        await bus.close()
