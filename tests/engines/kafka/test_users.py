"""The users of cred-kafka-yaml/ can run a whole workflow, and are refused everything else."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import NewTopic

from streamforge.cli.main import main
from streamforge_utils.adapters.kafka_apply.provisioner import ManifestProvisioner
from tests import cleanenv
from tests.e2e import rig
from tests.engines.kafka import buses
from tests.engines.kafka.broker import Broker, User
from tests.engines.kafka.rights import GROUP_OPERATIONS, TOPIC_OPERATIONS, Trying, named
from tests.places import ROOT

SHIPPED = ROOT / "cred-kafka-yaml"
RANGE = "2024-08-01T00:00Z:2024-08-01T03:00Z"
MINUTES = 180
LIMIT_S = 20.0

# A start takes 5 s, and several times as long on a busy machine.
pytestmark = pytest.mark.timeout(240)
NAMES = ("user-streamforge", "user-streamforge-manager", "user-streamforge-worker", "user-streamforge-reader")


class Cluster:
    """A secured broker to which the manifests that ship were applied."""

    def __init__(self, folder: Path) -> None:
        self.broker = Broker(folder / "broker", secured=True)
        self._secrets = folder / "secrets"
        self.broker.start()
        provisioner = ManifestProvisioner(buses.connection(self.broker), SHIPPED, secrets=self._secrets)
        provisioner.plan()
        self.applied = len(list(provisioner.apply()))
        provisioner.close()

    def user(self, name: str) -> User:
        """A user, with the password that was made for it."""
        return User(name, (self._secrets / name / "password").read_text())


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    found = Cluster(tmp_path_factory.mktemp("cluster"))
    yield found
    found.broker.stop()


@pytest.fixture(scope="module")
def exchange() -> Iterator[rig.Exchange]:
    with rig.exchange() as found:
        yield found


@pytest.fixture(autouse=True)
def _nothing_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    cleanenv.clean(monkeypatch)


def doctor(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, str]]:
    """doctor's exit code, and what it says of the bus, as the user."""
    code = main(["doctor", "--json", "--exchange", "test", "--data", str(folder)])
    checks = json.loads(capsys.readouterr().out)["checks"]
    found: dict[str, str] = next(check for check in checks if check["part"] == "bus")
    return code, found


@pytest.mark.parametrize(
    ("name", "verdict", "words"),
    [
        ("user-streamforge", "works", "a message was sent and received"),
        ("user-streamforge-manager", "careful", "no ACL to write"),
        ("user-streamforge-worker", "careful", "no ACL to create"),
    ],
)
def test_doctor_knows_what_a_user_is_for(
    cluster: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    verdict: str,
    words: str,
) -> None:
    for variable, value in cluster.broker.environment(cluster.user(name)).items():
        monkeypatch.setenv(variable, value)
    code, bus = doctor(tmp_path, capsys)
    assert (code, bus["verdict"]) == (0, verdict), bus
    assert words in bus["detail"]
    assert not any(
        topic.startswith("wf-doctor") for topic in cluster.broker.admin_client().list_topics(timeout=20).topics
    )


def test_doctor_misses_the_topics_of_commands_and_events(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable, value in cluster.broker.environment(cluster.user("user-streamforge")).items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("QUEUE_CONTROL_TOPIC", "my-control")
    code, bus = doctor(tmp_path, capsys)
    assert (code, bus["verdict"]) == (0, "careful"), bus
    assert "sees no topic my-control" in bus["detail"]
    assert "QUEUE_CONTROL_TOPIC" in bus["next_step"]


def check_workflow(manager: rig.Manager, exchange: rig.Exchange) -> None:
    ended = manager.load("BTCUSDT", "api_candles_1m", RANGE)
    assert ended["status"] == "finished", manager.story(ended["queue_id"])
    assert [segment["verdict"] for segment in manager.coverage(ended["queue_id"])] == ["stored"]
    lines = manager.csv(ended["collection"])
    assert len(lines) == 1 + MINUTES


def test_a_whole_workflow_runs_as_the_one_user(cluster: Cluster, exchange: rig.Exchange, tmp_path: Path) -> None:
    environment = cluster.broker.environment(cluster.user("user-streamforge"))
    with rig.manager(tmp_path / "data", exchange.url, **environment) as manager:
        check_workflow(manager, exchange)


def test_a_whole_workflow_runs_with_a_user_for_the_manager_and_one_for_the_workers(
    cluster: Cluster, exchange: rig.Exchange, tmp_path: Path
) -> None:
    worker = cluster.user("user-streamforge-worker")
    environment = cluster.broker.environment(cluster.user("user-streamforge-manager")) | {
        "STREAMFORGE_WORKER_KAFKA_USER": worker.name,
        "STREAMFORGE_WORKER_KAFKA_PASSWORD": worker.password,
    }
    with rig.manager(tmp_path / "data", exchange.url, **environment) as manager:
        check_workflow(manager, exchange)
        texts = [path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file()]
        assert not any(worker.password.encode() in text for text in texts)


def test_a_workflow_whose_workers_may_not_log_in_fails_and_names_why(
    cluster: Cluster, exchange: rig.Exchange, tmp_path: Path
) -> None:
    environment = cluster.broker.environment(cluster.user("user-streamforge-manager")) | {
        "STREAMFORGE_WORKER_KAFKA_USER": "user-streamforge-worker",
        "STREAMFORGE_WORKER_KAFKA_PASSWORD": "not-the-password",
    }
    with rig.manager(tmp_path / "data", exchange.url, **environment) as manager:
        ended = manager.load("BTCUSDT", "api_candles_1m", RANGE)
        assert ended["status"] == "error", manager.story(ended["queue_id"])
        told = json.dumps(ended)
        assert "user-streamforge-worker" in told
        assert "not-the-password" not in told


@pytest.mark.parametrize("name", NAMES)
def test_each_user_may_what_its_rules_name_and_nothing_else(cluster: Cluster, name: str) -> None:
    mark = uuid.uuid4().hex[:6]
    ours, foreign = f"wf-{mark}-data", f"other-{mark}"
    topics = [ours, "queue-control", "queue-events", foreign, "streamforge-kafka-apply"]
    groups = [f"wf-{mark}-arango-candles", "queue-manager", f"reader-{mark}", f"other-{mark}"]
    made = [NewTopic(topic, 1, 1) for topic in (ours, foreign)]
    for topic, future in cluster.broker.admin_client().create_topics(made).items():
        future.result(LIMIT_S)
        cluster.broker.await_topic(topic)
    wanted = named(SHIPPED, name, topics, groups)
    trying = Trying(cluster.broker, cluster.user(name))
    assert trying.cluster() == set()
    got = trying.rights(topics, groups)
    assert got == wanted
    refused = len(topics) * len(TOPIC_OPERATIONS) + len(groups) * len(GROUP_OPERATIONS) - len(wanted)
    assert refused > 20, "most of it is refused"
