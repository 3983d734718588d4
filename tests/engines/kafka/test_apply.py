"""`streamforge kafka apply cred-kafka-yaml/` on a real secured broker: from the very files that ship."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from streamforge.cli.main import main
from streamforge_utils.adapters.kafka_apply.broker_state import rules_of
from streamforge_utils.adapters.kafka_apply.manifest_reader import WantedUser
from streamforge_utils.adapters.kafka_apply.provisioner import ManifestProvisioner
from tests import cleanenv
from tests.engines.kafka.broker import Broker, User
from tests.places import ROOT

SHIPPED = ROOT / "cred-kafka-yaml"
LIMIT_S = 120.0
NOTES = "streamforge-kafka-apply"

# A start takes 5 s, and several times as long on a busy machine.


@pytest.fixture(autouse=True)
def _nothing_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    cleanenv.clean(monkeypatch)


class Applying:
    """The command on one folder of manifests and one broker."""

    def __init__(
        self, broker: Broker, folder: Path, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch
    ) -> None:
        self.broker = broker
        self.manifests = folder / "manifests"
        self.secrets = folder / "secrets"
        shutil.copytree(SHIPPED, self.manifests)
        self._capsys = capsys
        for name, value in broker.environment().items():
            patch.setenv(name, value)

    def __call__(self, *options: str, code: int = 0) -> str:
        """Run it; what it wrote to both streams, none of which is a secret."""
        got = main(["kafka", "apply", str(self.manifests), "--secrets", str(self.secrets), *options])
        captured = self._capsys.readouterr()
        text = captured.out + captured.err
        assert got == code, text
        assert self.broker.admin is not None
        for secret in (self.broker.admin.password, *self.passwords().values()):
            assert secret not in text
        return text if "--json" not in options else captured.out

    def actions(self, *options: str, code: int = 0) -> dict[str, str]:
        """What it says it would do, or did: kind and name with the action."""
        found = json.loads(self(*options, "--json", code=code))
        return {f"{change['kind']} {change['name']}": change["action"] for change in found["changes"]}

    def passwords(self) -> Mapping[str, str]:
        """Those that it made."""
        return {path.parent.name: path.read_text() for path in self.secrets.glob("*/password")}

    def edit(self, name: str, old: str, new: str) -> None:
        """Change a manifest."""
        path = self.manifests / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def config(self, topic: str) -> dict[str, str]:
        """A topic's configuration."""
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        found = self.broker.admin_client().describe_configs([resource])[resource].result(LIMIT_S)
        return {name: entry.value for name, entry in found.items()}

    def topics(self) -> set[str]:
        """The topics that there are."""
        return {name for name in self.broker.admin_client().list_topics(timeout=LIMIT_S).topics if name[0] != "_"}


@pytest.fixture(scope="module")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker for this module alone: users, rules and notes are the whole broker's."""
    broker = Broker(tmp_path_factory.mktemp("applied-broker"), secured=True)
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture
def apply(
    own_broker: Broker, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Applying]:
    """The command on a broker without any topic, rule or user."""
    yield Applying(own_broker, tmp_path, capsys, monkeypatch)
    own_broker.clear()


def rule(user: str, topic: str, operation: AclOperation) -> AclBinding:
    return AclBinding(
        ResourceType.TOPIC,
        topic,
        ResourcePatternType.LITERAL,
        f"User:{user}",
        "*",
        operation,
        AclPermissionType.ALLOW,
    )


def test_what_ships_is_made_once_and_another_folder_of_passwords_changes_none(
    apply: Applying, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "add --yes" in apply(code=2)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    assert "add --yes, or --dry-run to look only" in json.loads(apply("--json", code=2))["error"]
    would = apply.actions("--dry-run")
    assert set(would.values()) == {"create"}
    assert apply.topics() == set(), "a dry run made something"
    assert not apply.secrets.exists()
    assert apply.actions("--yes") == would
    assert apply.topics() == {"queue-control", "queue-events", NOTES}
    assert apply.config("queue-control")["retention.ms"] == "604800000"
    before = apply.passwords()
    assert set(before) == {
        "user-streamforge",
        "user-streamforge-manager",
        "user-streamforge-reader",
        "user-streamforge-worker",
    }
    assert set(apply.actions("--yes").values()) == {"unchanged"}
    assert "nothing to change" in apply("--yes")

    apply.secrets = tmp_path / "elsewhere"
    told = apply("--yes")
    assert "nothing to change" in told
    for name, password in before.items():
        assert f"user {name}: its password is not in {apply.secrets}/{name}/password and stays what it is" in told
        client = AdminClient({**apply.broker.client_config(User(name, password)), "log_level": 0})
        assert client.list_topics(timeout=LIMIT_S).topics
    assert not apply.secrets.exists()
    assert "another password" in apply("--yes", "--rotate", "user-streamforge-reader")
    assert set(apply.passwords()) == {"user-streamforge-reader"}
    assert "no manifest describes" in apply("--yes", "--rotate", "somebody", code=2)


def test_only_what_the_manifests_changed_is_changed_and_what_they_name_no_more_stays(apply: Applying) -> None:
    apply("--yes")
    apply.edit("topic-queue-events.yaml", "partitions: 1", "partitions: 2")
    apply.edit("topic-queue-events.yaml", "retention.ms: 604800000", "retention.ms: 3600000")
    apply.edit("user-reader.yaml", "operations: [Describe, Read]", "operations: [Describe]")
    before = apply.passwords()
    (apply.secrets / "user-streamforge-worker" / "password").write_text("a new password")
    told = apply("--yes", "--rotate", "user-streamforge")
    assert "retention.ms: 604800000 -> 3600000" in told
    assert apply.config("queue-events")["retention.ms"] == "3600000"
    after = apply.passwords()
    assert {name for name in before if before[name] != after[name]} == {"user-streamforge", "user-streamforge-worker"}
    assert set(apply.actions("--yes").values()) == {"unchanged"}

    (apply.manifests / "user-reader.yaml").unlink()
    (apply.manifests / "topic-queue-events.yaml").unlink()
    told = apply("--yes")
    assert "? topic queue-events  (made here, it stays)" in told
    assert "? user  user-streamforge-reader  (made here, it stays)" in told
    assert "it keeps the 5 rights" in told
    assert "queue-events" in apply.topics()
    admin = apply.broker.admin_client()
    assert len(admin.describe_acls(_rules_of("user-streamforge-reader")).result(LIMIT_S)) == 5

    admin.delete_topics(["queue-events"])["queue-events"].result(LIMIT_S)
    assert apply.actions("--yes")["topic queue-events"] == "forget"
    assert "topic queue-events" not in apply.actions("--yes")
    # So what another makes of that name is not taken for ours.
    admin.create_topics([NewTopic("queue-events", 1, 1)])["queue-events"].result(LIMIT_S)
    shutil.copy(SHIPPED / "topic-queue-events.yaml", apply.manifests)
    assert apply.actions("--yes", code=1)["topic queue-events"] == "foreign"


def test_what_others_made_is_shown_and_left_alone_until_it_is_adopted(apply: Applying) -> None:
    admin = apply.broker.admin_client()
    theirs = NewTopic("queue-control", 3, 1, config={"retention.ms": "1000000"})
    admin.create_topics([theirs])["queue-control"].result(LIMIT_S)
    apply.broker.add_user("user-streamforge-worker", "their own password")
    extra = rule("user-streamforge-reader", "queue-control", AclOperation.DELETE)
    admin.create_acls([extra])[extra].result(LIMIT_S)

    actions = apply.actions("--yes", code=1)
    assert actions["topic queue-control"] == "foreign"
    assert actions["user user-streamforge-worker"] == "foreign"
    assert actions["user user-streamforge-reader"] == "create"
    assert apply.config("queue-control")["retention.ms"] == "1000000"
    assert "user-streamforge-worker" not in apply.passwords()
    found = admin.describe_acls(_rules_of("user-streamforge-worker")).result(LIMIT_S)
    assert found == [], "a foreign user was given a rule"
    assert extra in admin.describe_acls(_rules_of("user-streamforge-reader")).result(LIMIT_S)

    apply.edit("topic-queue-control.yaml", "partitions: 1", "partitions: 3")
    apply("--yes", "--adopt", code=1)  # the rule that no manifest names stays foreign
    assert apply.config("queue-control")["retention.ms"] == "604800000"
    assert "user-streamforge-worker" in apply.passwords()
    assert extra in admin.describe_acls(_rules_of("user-streamforge-reader")).result(LIMIT_S)


def test_a_right_that_is_missing_is_named_before_what_needs_it_is_begun(
    apply: Applying, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = apply.broker
    user = broker.add_user("somebody")
    allow = AclPermissionType.ALLOW

    def connect_as(user: User | None) -> None:
        for name, value in broker.environment(user).items():
            monkeypatch.setenv(name, value)

    connect_as(user)
    told = apply("--yes", code=2)
    assert "the user somebody has no ACL to Describe and Alter on the cluster" in told
    assert told.count("\n") == 1
    whole = (ResourceType.BROKER, "kafka-cluster", ResourcePatternType.LITERAL, f"User:{user.name}", "*")
    on_cluster = [AclBinding(*whole, one, allow) for one in (AclOperation.DESCRIBE, AclOperation.ALTER)]
    for made in broker.admin_client().create_acls(on_cluster).values():
        made.result(LIMIT_S)
    assert f"the user somebody has no ACL to create topic {NOTES}" in apply("--yes", code=2)
    assert apply.topics() == set()

    connect_as(None)
    apply("--yes")
    apply.edit("topic-queue-events.yaml", "retention.ms: 604800000", "retention.ms: 3600000")
    connect_as(user)

    def allowed(*rules: AclBinding) -> None:
        for made in broker.admin_client().create_acls([*rules]).values():
            made.result(LIMIT_S)

    topics = ("queue-control", "queue-events")
    allowed(*(rule(user.name, topic, AclOperation.DESCRIBE) for topic in (*topics, NOTES)))
    allowed(rule(user.name, NOTES, AclOperation.READ))
    assert "the user somebody has no ACL to describe the configs of topic queue-" in apply("--yes", code=2)
    allowed(*(rule(user.name, topic, AclOperation.DESCRIBE_CONFIGS) for topic in topics))
    told = apply("--yes", code=2)
    assert "the user somebody has no ACL to alter the configs of topic queue-events" in told
    assert "0 of 1 changes were made; the same command makes the rest" in told
    assert apply.config("queue-events")["retention.ms"] == "604800000"
    allowed(*(rule(user.name, topic, AclOperation.ALTER_CONFIGS) for topic in topics))
    apply.edit("topic-queue-control.yaml", "partitions: 1", "partitions: 2")
    assert "the user somebody has no ACL to alter topic queue-control" in apply("--yes", code=2)


def test_an_interrupted_apply_is_finished_by_the_next(apply: Applying, monkeypatch: pytest.MonkeyPatch) -> None:
    made = ManifestProvisioner._do_user

    def cut(self: ManifestProvisioner, user: WantedUser, *, fresh: bool) -> None:
        made(self, user, fresh=fresh)
        raise RuntimeError("cut short")

    monkeypatch.setattr(ManifestProvisioner, "_do_user", cut)
    assert "changes were made; the same command makes the rest" in apply("--yes", code=1)
    monkeypatch.undo()
    for name, value in apply.broker.environment().items():
        monkeypatch.setenv(name, value)
    assert "foreign" not in apply.actions("--yes").values()
    assert set(apply.actions("--yes").values()) == {"unchanged"}


def test_a_topic_that_was_refused_is_not_ours_when_another_makes_it(apply: Applying) -> None:
    apply.edit("topic-queue-events.yaml", "retention.ms: 604800000", "retention.ms: abc")
    assert "queue-events" in apply("--yes", code=1)
    assert "queue-events" not in apply.topics()
    theirs = NewTopic("queue-events", 1, 1, config={"retention.ms": "12345678"})
    apply.broker.admin_client().create_topics([theirs])["queue-events"].result(LIMIT_S)
    apply.edit("topic-queue-events.yaml", "retention.ms: abc", "retention.ms: 604800000")
    assert apply.actions("--yes", code=1)["topic queue-events"] == "foreign"
    assert apply.config("queue-events")["retention.ms"] == "12345678"


def test_a_wrong_manifest_and_wrong_settings_are_named(apply: Applying, monkeypatch: pytest.MonkeyPatch) -> None:
    apply.edit("user-reader.yaml", "type: group", "type: grupp")
    assert "user-reader.yaml" in apply("--yes", code=2)
    monkeypatch.setenv("KAFKA_PASSWORD", "wrong")
    apply.edit("user-reader.yaml", "type: grupp", "type: group")
    assert "KAFKA_PASSWORD" in apply("--yes", code=2)
    for name in apply.broker.environment():
        monkeypatch.delenv(name)
    assert "KAFKA_BOOTSTRAP_SERVERS is not set" in apply("--yes", code=2)


def test_a_broker_without_an_authorizer_is_not_given_rules(
    plain_broker: Broker, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in plain_broker.environment().items():
        monkeypatch.setenv(name, value)
    assert main(["kafka", "apply", str(SHIPPED), "--secrets", str(tmp_path), "--yes"]) == 2
    assert "the broker has no authorizer" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert "queue-control" not in plain_broker.admin_client().list_topics(timeout=LIMIT_S).topics


def _rules_of(user: str) -> AclBindingFilter:
    return rules_of(f"User:{user}")
