"""dummy-service and debug_producer.py on the secured broker, by the variables and lines of the first generation."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import ResourceType

from tests.engines.kafka.broker import Broker
from tests.engines.kafka.talk import Json, Talk

SEED_DUMMY = "--debug --simulate-loading"
SEED_PING = "--queue-id {} --command ping --expect-pong"
SEED_STOP = "--queue-id {} --command stop"


@pytest.fixture
def talk(secured_broker: Broker, tmp_path: Path) -> Iterator[Talk]:
    found = Talk(secured_broker, tmp_path)
    yield found
    found.close()


def words(events: list[Json]) -> list[str]:
    """The events but the heartbeats, which come when they come."""
    return [event["event"] for event in events if event["event"] != "loading"]


def test_the_first_generation_s_lines_work_with_its_variables(talk: Talk) -> None:
    assert set(talk.environment) == {
        *("KAFKA_BOOTSTRAP_SERVERS", "KAFKA_USER", "KAFKA_PASSWORD", "KAFKA_CA_PATH"),
        *("QUEUE_CONTROL_TOPIC", "QUEUE_EVENTS_TOPIC"),
    }
    witness = talk.witness()
    dummy = talk.dummy(*shlex.split(SEED_DUMMY))
    witness.events("started", "loading")
    ping = talk.producer(*shlex.split(SEED_PING.format(talk.queue_id)))
    assert (ping.returncode, ping.stderr) == (0, "")
    first, second, last = ping.stdout.splitlines()
    assert first == f"1: ping to {talk.queue_id}"
    assert second.startswith(f"1: pong from dummy-service__{talk.code} (attempt 1) after ")
    assert last.startswith("1 of 1 sent, 1 answered by pong; RTT p50 ")
    stop = talk.producer(*shlex.split(SEED_STOP.format(talk.queue_id)))
    assert (stop.returncode, stop.stdout, stop.stderr) == (0, f"1: stop to {talk.queue_id}\n1 of 1 sent\n", "")
    assert dummy.ended() == 0, dummy.stderr
    events = witness.events("interrupted")
    assert words(events) == ["started", "pong", "interrupted"]
    assert {one.key for one in witness.read} == {talk.queue_id.encode()}
    for event in events:
        assert (event["queue_id"], event["target"], event["attempt"]) == (talk.queue_id, "dummy-service", 1)
        assert event["finished"] == (event["event"] == "interrupted")
    assert talk.user.password not in dummy.stderr


def test_more_than_is_sent_unasked_is_sent_by_who_may_not_see_the_topic_s_cap(talk: Talk) -> None:
    dummy = talk.dummy("--simulate-loading", "--events", "300", "--rate", "100000", "--record-size", "1000")
    assert dummy.ended() == 0, dummy.stderr
    assert words(talk.witness().events("finished")) == ["started", "finished"]


def test_without_an_answer_and_with_wrong_settings_it_fails_in_time(talk: Talk) -> None:
    quick = ("--queue-id", talk.queue_id, "--command", "ping", "--expect-pong", "--timeout")
    ping = talk.producer(*quick, "5")
    assert ping.returncode == 1, ping.stderr
    assert ping.stdout.splitlines()[1:] == ["1: no pong within 5 s", "1 of 1 sent, 0 answered by pong"]
    ping = talk.producer(*quick, "20", environment=talk.environment | {"KAFKA_PASSWORD": "not this one"})
    assert ping.returncode == 2, ping.stderr
    assert "KAFKA_PASSWORD" in ping.stderr
    assert "not this one" not in ping.stderr + ping.stdout


def test_a_topic_that_is_mistyped_is_named_and_not_made(talk: Talk) -> None:
    ping = shlex.split(SEED_PING.format(talk.queue_id))
    talk.allow(talk.user, ResourceType.TOPIC, "mistyped-", "CREATE", "DESCRIBE", "READ", "WRITE", prefix=True)
    for variable in ("QUEUE_CONTROL_TOPIC", "QUEUE_EVENTS_TOPIC"):
        wrong = f"mistyped-{talk.code}"
        ended = talk.producer(*ping, environment=talk.environment | {variable: wrong})
        assert ended.returncode == 2, ended.stderr
        assert f"there is no topic {wrong} ({variable})" in ended.stderr
        assert (ended.stdout, ended.stderr.count("\n")) == ("", 1)
        assert wrong not in talk.broker.admin_client().list_topics(timeout=600).topics


def test_one_user_may_send_and_another_read(talk: Talk) -> None:
    """The variables with _PRODUCER and _CONSUMER, and the CA's other name; nobody else can log in, nor do more."""
    writer, reader = (talk.broker.add_user(f"{who}-{talk.code}") for who in ("writer", "reader"))
    for topic in (talk.control, talk.events):
        talk.allow(writer, ResourceType.TOPIC, topic, "DESCRIBE", "WRITE")
        talk.allow(reader, ResourceType.TOPIC, topic, "DESCRIBE", "READ")
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": talk.broker.bootstrap,
        "KAFKA_USER_PRODUCER": writer.name,
        "KAFKA_PASSWORD_PRODUCER": writer.password,
        "KAFKA_USER_CONSUMER": reader.name,
        "KAFKA_PASSWORD_CONSUMER": reader.password,
        "CA_PATH": str(talk.broker.ca_path),
        **talk.topics,
    }
    witness = talk.witness()
    dummy = talk.dummy(environment=environment)
    witness.events("started")
    ping = (*shlex.split(SEED_PING.format(talk.queue_id)), "--timeout", "20")
    answered = talk.producer(*ping, environment=environment)
    assert answered.returncode == 0, answered.stderr
    stop = (*shlex.split(SEED_STOP.format(talk.queue_id)), "--expect", "interrupted")
    swapped = environment | {
        "KAFKA_USER_PRODUCER": reader.name,
        "KAFKA_PASSWORD_PRODUCER": reader.password,
    }
    refused = talk.producer(*stop, environment=swapped)
    assert refused.returncode == 2, refused.stderr
    assert f"the user {reader.name} has no ACL to write topic {talk.control}" in refused.stderr
    assert "KAFKA_USER_PRODUCER" in refused.stderr
    swapped = environment | {
        "KAFKA_USER_CONSUMER": writer.name,
        "KAFKA_PASSWORD_CONSUMER": writer.password,
    }
    refused = talk.producer(*ping, environment=swapped)
    assert refused.returncode == 2, refused.stderr
    assert f"the user {writer.name} has no ACL to read topic {talk.events}" in refused.stderr
    assert "KAFKA_USER_CONSUMER" in refused.stderr
    done = talk.producer(*stop, environment=environment)
    assert done.returncode == 0, done.stderr
    assert dummy.ended() == 0, dummy.stderr


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"KAFKA_PASSWORD_PRODUCER": "not this one"}, "KAFKA_PASSWORD_PRODUCER"),
        ({"KAFKA_USER_CONSUMER": "nobody-knows-me"}, "KAFKA_USER_CONSUMER"),
        ({"KAFKA_PASSWORD_CONSUMER": ""}, "KAFKA_PASSWORD_CONSUMER"),
    ],
)
def test_of_two_users_the_one_that_cannot_log_in_is_named(talk: Talk, change: dict[str, str], names: str) -> None:
    """By the service and by the producer; each of the users has all rights here."""
    environment = {
        name: value for name, value in talk.environment.items() if name not in ("KAFKA_USER", "KAFKA_PASSWORD")
    }
    for suffix in ("PRODUCER", "CONSUMER"):
        environment |= {f"KAFKA_USER_{suffix}": talk.user.name, f"KAFKA_PASSWORD_{suffix}": talk.user.password}
    environment |= change
    dummy = talk.dummy(environment=environment)
    ping = talk.producer(*shlex.split(SEED_PING.format(talk.queue_id)), "--timeout", "20", environment=environment)
    assert ping.returncode == 2, ping.stderr
    assert dummy.ended() == 2, dummy.stderr
    for said in (ping.stderr, dummy.stderr):
        assert names in said
        assert "not this one" not in said
        assert talk.user.password not in said
