"""The engine itself: what other tests take for granted of the broker."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from tests.engines.errors import EngineError
from tests.engines.kafka import jars
from tests.engines.kafka.broker import Broker, User
from tests.engines.tls import Authority

LIMIT_S = 20.0

# A start takes 5 s, and several times as long on a busy machine.
pytestmark = pytest.mark.timeout(240)


def new_topic(broker: Broker) -> str:
    name = f"topic-{uuid.uuid4().hex[:8]}"
    broker.admin_client().create_topics([NewTopic(name, 1, 1)])[name].result(LIMIT_S)
    return name


def send(broker: Broker, topic: str, value: bytes, user: User | None = None) -> KafkaError | None:
    """Send one message; the error with which it was answered."""
    answers = list[KafkaError | None]()

    def delivered(error: KafkaError | None, _: Message) -> None:
        answers.append(error)

    producer = Producer({**broker.client_config(user), "message.timeout.ms": 15_000, "log_level": 0})
    producer.produce(topic, value, on_delivery=delivered)
    producer.flush(LIMIT_S)
    assert answers, "the broker did not answer"
    return answers[0]


def values(broker: Broker, topic: str) -> list[bytes | None]:
    """Everything in a topic of one partition."""
    settings = {**broker.client_config(), "group.id": "reader", "enable.partition.eof": True, "log_level": 0}
    consumer = Consumer(settings)
    consumer.assign([TopicPartition(topic, 0, 0)])
    found = list[bytes | None]()
    deadline = time.monotonic() + LIMIT_S
    try:
        while time.monotonic() < deadline:
            message = consumer.poll(1)
            if message is None:
                continue
            error = message.error()
            if error is None:
                found.append(message.value())
            elif error.code() == KafkaError._PARTITION_EOF:
                return found
        raise AssertionError(f"the end of {topic} was not reached")
    finally:
        consumer.close()


def test_no_command_that_it_starts_holds_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, wrapper = tmp_path / "commands", tmp_path / "java"
    wrapper.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {seen}\nexec {jars.java()} "$@"\n')
    wrapper.chmod(0o700)
    monkeypatch.setattr(jars, "java", lambda: str(wrapper))
    broker = Broker(tmp_path / "broker", secured=True)
    try:
        broker.start()
        assert broker.admin is not None
        commands = seen.read_text()
        assert "kafka.Kafka" in commands
        assert "format.arguments" in commands
        assert broker.admin.password not in commands
        assert not list(broker.folder.glob("*.arguments"))
    finally:
        broker.stop()


@pytest.fixture(params=["plain", pytest.param("secured", marks=pytest.mark.long)])
def own_broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    """A broker that a test may kill."""
    broker = Broker(tmp_path / "broker", secured=request.param == "secured")
    broker.start()
    yield broker
    broker.kill()


def test_what_was_confirmed_survives_a_kill_on_the_same_ports(own_broker: Broker) -> None:
    topic, bootstrap = new_topic(own_broker), own_broker.bootstrap
    assert send(own_broker, topic, b"before") is None
    own_broker.kill()
    assert not own_broker.running
    own_broker.start()
    assert own_broker.bootstrap == bootstrap
    assert send(own_broker, topic, b"after") is None
    assert values(own_broker, topic) == [b"before", b"after"]


def test_it_makes_no_topic_that_nobody_asked_for(plain_broker: Broker) -> None:
    name = "topic-nobody-made"
    producer = Producer({**plain_broker.client_config(), "log_level": 0})
    for _ in range(2):  # asking is what would make it
        found = producer.list_topics(name, timeout=LIMIT_S).topics[name].error
        assert found is not None
        assert found.code() == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_a_user_without_an_acl_is_refused_and_with_one_is_not(secured_broker: Broker) -> None:
    topic = new_topic(secured_broker)
    user = secured_broker.add_user(f"user-{topic}")
    refused = send(secured_broker, topic, b"x", user)
    assert refused is not None
    assert refused.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    rule = AclBinding(
        ResourceType.TOPIC,
        topic,
        ResourcePatternType.LITERAL,
        f"User:{user.name}",
        "*",
        AclOperation.WRITE,
        AclPermissionType.ALLOW,
    )
    secured_broker.admin_client().create_acls([rule])[rule].result(LIMIT_S)
    assert send(secured_broker, topic, b"x", user) is None


@pytest.mark.parametrize("wrong", ["password", "authority"])
def test_who_is_not_known_or_does_not_know_the_broker_gets_no_answer(
    secured_broker: Broker, tmp_path: Path, wrong: str
) -> None:
    settings = secured_broker.client_config()
    if wrong == "password":
        settings["sasl.password"] = "something else"
    else:
        (tmp_path / "other.crt").write_text(Authority.create().pem)
        settings["ssl.ca.location"] = str(tmp_path / "other.crt")
    with pytest.raises(KafkaException):
        AdminClient({**settings, "log_level": 0}).list_topics(timeout=3)


def test_it_dies_with_a_killed_owner(tmp_path: Path) -> None:
    owner = (
        "import sys, time; from pathlib import Path; from tests.engines.kafka.broker import Broker\n"
        "broker = Broker(Path(sys.argv[1])); broker.start(); print(broker.pid, flush=True); time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", owner, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    with process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        os.kill(pid, 0)
        process.kill()
    deadline = time.monotonic() + LIMIT_S
    while _alive(pid):
        assert time.monotonic() < deadline, f"the broker {pid} outlived its owner"
        time.sleep(0.05)


def test_its_secrets_are_readable_by_nobody_else(secured_broker: Broker) -> None:
    for name in ("server.properties", "broker.pem"):
        assert (secured_broker.folder / name).stat().st_mode & 0o077 == 0, name
    assert secured_broker.admin is not None
    assert secured_broker.admin.password not in secured_broker.log_path.read_text()
    assert secured_broker.admin.password not in repr(secured_broker.admin)


def test_without_java_the_reason_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(EngineError, match="there is no java in JAVA_HOME"):
        jars.java()


def test_without_maven_the_reason_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="install Maven"):
        jars.class_path()
    assert not list(tmp_path.glob("streamforge/*/*.jar"))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
