"""The users of cred-kafka-yaml/ can run a whole workflow, and are refused everything else."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamforge.cli.main import main
from streamforge_utils.adapters.kafka.kafka_bus import KafkaBus
from streamforge_utils.adapters.kafka_apply.provisioner import ManifestProvisioner
from streamforge_utils.model.errors import ConfigError
from streamforge_utils.ports.bus import TopicSpec
from streamforge_utils.runtime.output.topic_specs import data_topic
from tests import cleanenv
from tests.contracts.bus_fixtures import numbered, read, values
from tests.e2e import rig
from tests.e2e.test_batches import begun, ended
from tests.engines.kafka import buses
from tests.engines.kafka.broker import Broker, User
from tests.places import ROOT

SHIPPED = ROOT / "cred-kafka-yaml"
RANGE = "2024-08-01T00:00Z:2024-08-01T03:00Z"
MINUTES = 180
LIMIT_S = 120.0

# A start takes 5 s, and several times as long on a busy machine.
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


@pytest.mark.parametrize(
    ("name", "changed", "verdict", "words"),
    [
        ("user-streamforge", {}, "works", ("a message was sent and received",)),
        ("user-streamforge-manager", {}, "careful", ("no ACL to write",)),
        ("user-streamforge-worker", {}, "careful", ("no ACL to create",)),
        (
            "user-streamforge",
            {"QUEUE_CONTROL_TOPIC": "my-control"},
            "careful",
            ("sees no topic my-control", "QUEUE_CONTROL_TOPIC"),
        ),
    ],
)
def test_doctor_knows_what_a_user_is_for_and_which_topics_it_misses(
    cluster: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    changed: dict[str, str],
    verdict: str,
    words: tuple[str, ...],
) -> None:
    for variable, value in {**cluster.broker.environment(cluster.user(name)), **changed}.items():
        monkeypatch.setenv(variable, value)
    code = main(["doctor", "--json", "--exchange", "test", "--data", str(tmp_path)])
    checks = json.loads(capsys.readouterr().out)["checks"]
    bus = next(check for check in checks if check["part"] == "bus")
    assert (code, bus["verdict"]) == (0, verdict), bus
    for word in words:
        assert word in f"{bus['detail']} {bus['next_step']}"
    topics = cluster.broker.admin_client().list_topics(timeout=600).topics
    assert not any(topic.startswith("wf-doctor") for topic in topics)


@pytest.mark.parametrize(("name", "worker"), [(NAMES[0], None), (NAMES[1], NAMES[2])])
def test_a_whole_workflow_runs_as_one_user_or_with_another_for_the_workers(
    cluster: Cluster, exchange: rig.Exchange, tmp_path: Path, name: str, worker: str | None
) -> None:
    environment = cluster.broker.environment(cluster.user(name))
    if worker is not None:
        password = cluster.user(worker).password
        environment |= {"STREAMFORGE_WORKER_KAFKA_USER": worker, "STREAMFORGE_WORKER_KAFKA_PASSWORD": password}
    with rig.manager(tmp_path / "data", exchange.url, **environment) as manager:
        ended = manager.load("BTCUSDT", "api_candles_1m", RANGE)
        assert ended["status"] == "finished", manager.story(ended["queue_id"])
        assert [segment["verdict"] for segment in manager.coverage(ended["queue_id"])] == ["stored"]
        assert len(manager.csv(ended["collection"])) == 1 + MINUTES
        secrets = [value.encode() for name, value in environment.items() if name.endswith("PASSWORD")]
        texts = [path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file()]
        assert not any(secret in text for secret in secrets for text in texts)


def test_a_batch_and_a_run_of_a_schedule_that_is_fired_by_hand_end_proven(
    cluster: Cluster, exchange: rig.Exchange, tmp_path: Path
) -> None:
    symbols = exchange.symbols[:3]
    with rig.manager(tmp_path / "data", exchange.url, **cluster.broker.environment(cluster.user(NAMES[0]))) as manager:
        batch = begun(manager, symbols, time_range="2024-08-01")
        counts = ended(manager, batch["batch_id"])["counts"]
        assert {word: number for word, number in counts.items() if number} == {"finished": 3}
        body = {"symbols": symbols, "type": "api_candles_1h", "cron": "0 0 1 1 *", "time_range": "2024-07-31"}
        assert manager.api.post("/schedules", json={"name": "all", **body}).status_code == 201
        manager.post("/schedules/all/run")

        def run() -> rig.Json | None:
            runs: list[rig.Json] = manager.api.get("/schedules/all/runs").raise_for_status().json()["runs"]
            return runs[0] if runs else None

        assert rig.eventually(run, "the run has ended")["state"] == "finished"
        workflows = manager.api.get("/queues").raise_for_status().json()["queues"]
        assert sorted(one["symbol"] for one in workflows) == sorted(2 * symbols)
        for one in workflows:
            assert {segment["verdict"] for segment in manager.coverage(one["queue_id"])} == {"stored"}
            assert len(manager.csv(one["collection"])) == 1 + 24


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


@pytest.mark.parametrize("name", ["user-streamforge", "user-streamforge-manager"])
async def test_a_manager_trims_what_every_sink_has_committed_and_nobody_may_more_than_it_is_for(
    cluster: Cluster, name: str
) -> None:
    code = uuid.uuid4().hex[:6]
    topic, group, foreign = f"wf-{code}-data", f"wf-{code}-arango-candles", f"other-{code}"
    admin = KafkaBus(buses.connection(cluster.broker))
    manager, worker, reader = (
        KafkaBus(buses.connection(cluster.broker, cluster.user(user)))
        for user in (name, "user-streamforge-worker", "user-streamforge-reader")
    )
    try:
        await admin.create_topic(TopicSpec(name=foreign))
        await manager.create_topic(data_topic(topic, (group,)))
        await (await worker.producer(bulk=True)).send(topic, numbered(10))
        sink = await worker.consumer(topic, group=group)
        assert len(await read(sink, 10, LIMIT_S)) == 10
        await sink.commit({0: 7})
        for bus in (worker, reader):
            with pytest.raises(ConfigError, match="no ACL to delete topic"):
                await bus.trim(topic, [group])
            with pytest.raises(ConfigError, match="no ACL to delete topic"):
                await bus.delete_topic(topic)
            with pytest.raises(ConfigError, match="no ACL to create topic"):
                await bus.create_topic(TopicSpec(name=f"wf-{code}-more"))
        await manager.trim(topic, [group])
        assert values(await read(await reader.consumer(topic), 3, LIMIT_S)) == [7, 8, 9]
        assert (await reader.lag(topic, group)).records == 3
        for bus in (reader, *((manager,) if name.endswith("manager") else ())):
            with pytest.raises(ConfigError, match="no ACL to write topic"):
                await (await bus.producer()).send(topic, numbered(1))
        with pytest.raises(ConfigError, match="no ACL to read with group"):
            await reader.consumer(topic, group=group)
        for bus in (manager, worker, reader):
            with pytest.raises(ConfigError, match=f"no ACL to read topic {foreign}"):
                await bus.consumer(foreign)
            with pytest.raises(ConfigError, match=f"no ACL to create topic new-{foreign}"):
                await bus.create_topic(TopicSpec(name=f"new-{foreign}"))
        await manager.delete_topic(topic)
    finally:
        for bus in (admin, manager, worker, reader):
            await bus.close()
