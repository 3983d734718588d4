"""dummy-service and debug_producer.py on the secured broker, by the variables and lines of the first generation."""

from __future__ import annotations

import json
import shlex
import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import ResourceType

from tests.engines.kafka.broker import Broker
from tests.engines.kafka.talk import Json, Talk, metrics

pytestmark = pytest.mark.timeout(180)

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


def test_a_stop_waits_for_its_answer_and_pings_are_measured(talk: Talk) -> None:
    witness = talk.witness()
    dummy = talk.dummy()
    (started,) = witness.events("started")
    many = ("--expect-pong", "--repeat", "20", "--interval", "0.01", "--target", "dummy-service", "--json")
    pings = talk.producer("--queue-id", talk.queue_id, "--command", "ping", *many)
    lines = [json.loads(line) for line in pings.stdout.splitlines()]
    assert (pings.returncode, pings.stderr) == (0, ""), pings.stdout
    assert [line["kind"] for line in lines] == ["connected", *(["sending", "answer"] * 20), "summary"]
    rtts = sorted(line["rtt_ms"] for line in lines if line["kind"] == "answer")
    assert lines[-1]["rtt_ms"] == {"p50": rtts[9], "p99": rtts[19], "max": rtts[19]}
    sent = [line["command"]["sent_at"] for line in lines if line["kind"] == "sending"]
    assert all(one < other for one, other in pairwise(sent))
    counted = metrics(started)
    assert counted["dummy_pings_total"] == 20
    assert counted['dummy_events_total{event="pong"}'] == 20
    assert counted['dummy_events_total{event="started"}'] == 1
    assert counted['dummy_status_last{status="error"}'] == 0
    assert sum(value for name, value in counted.items() if name.startswith("dummy_status_last{")) == 1
    assert counted['streamforge_commands_total{command="ping",target="dummy-service"}'] == 20
    stop = talk.producer(*shlex.split(SEED_STOP.format(talk.queue_id)), "--expect", "interrupted")
    assert stop.returncode == 0, stop.stderr
    assert f"1: interrupted from dummy-service__{talk.code} (attempt 1)\n" in stop.stdout
    assert dummy.ended() == 0


def test_loadings_and_failures_by_command_are_followed(talk: Talk) -> None:
    witness = talk.witness()
    dummy = talk.dummy(STREAMFORGE_HEARTBEAT_SECONDS="600")
    (started,) = witness.events("started")
    follow = talk.start(
        shlex.split(f"python services/dummy-service/debug_producer.py --queue-id {talk.queue_id} --follow --json"),
        talk.environment,
    )
    follow.line(lambda line: json.loads(line)["kind"] == "connected")
    load = ("--command", "simulate-loading", "--payload", '{"events": 3, "rate": 1000, "record_size": 100}')
    assert talk.producer("--queue-id", talk.queue_id, *load, "--expect", "loading").returncode == 0
    followed = [json.loads(follow.line(lambda line: '"loading"' in line))["event"]["extra"] for _ in range(3)]
    assert [extra["number"] for extra in followed] == [1, 2, 3]
    assert {len(extra["padding"]) for extra in followed} == {100}
    assert metrics(started)['dummy_status_last{status="loading"}'] == 1
    fail = ("--command", "fail-after", "--payload", '{"seconds": 0}', "--expect", "error")
    assert talk.producer("--queue-id", talk.queue_id, *fail).returncode == 0
    last = json.loads(follow.line(lambda line: '"error"' in line))["event"]
    assert last["error_message"] == "dummy-service fails after 0 s, as the command said"
    assert dummy.ended() == 1
    follow.process.send_signal(signal.SIGINT)
    assert follow.ended() == 0, follow.stderr


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ("--noop", 0, ["started", "finished"]),
        ("--fail-after 0.2", 1, ["started", "error"]),
        ("--exit-after 0.2", 0, ["started", "finished"]),
        # More than is sent before the topic's cap is asked for, which this user may not see.
        ("--simulate-loading --events 300 --rate 100000 --record-size 1000", 0, ["started", "finished"]),
    ],
)
def test_it_ends_as_its_options_say(talk: Talk, options: str, code: int, said: list[str]) -> None:
    dummy = talk.dummy(*options.split())
    assert dummy.ended() == code, dummy.stderr
    assert words(talk.witness().events(said[-1])) == said


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
        assert wrong not in talk.broker.admin_client().list_topics(timeout=20).topics


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
    ping = talk.producer(*shlex.split(SEED_PING.format(talk.queue_id)), environment=environment)
    assert ping.returncode == 0, ping.stderr
    stop = (*shlex.split(SEED_STOP.format(talk.queue_id)), "--expect", "interrupted")
    swapped = environment | {
        "KAFKA_USER_PRODUCER": reader.name,
        "KAFKA_PASSWORD_PRODUCER": reader.password,
    }
    refused = talk.producer(*stop, environment=swapped)
    assert refused.returncode == 2, refused.stderr
    assert f"the user {reader.name} has no ACL to write topic {talk.control}" in refused.stderr
    assert "KAFKA_USER_PRODUCER" in refused.stderr
    done = talk.producer(*stop, environment=environment)
    assert done.returncode == 0, done.stderr
    assert dummy.ended() == 0, dummy.stderr


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"KAFKA_PASSWORD_PRODUCER": "not this one"}, "KAFKA_PASSWORD_PRODUCER"),
        ({"KAFKA_PASSWORD_CONSUMER": "not this one"}, "KAFKA_PASSWORD_CONSUMER"),
        ({"KAFKA_USER_CONSUMER": "nobody-knows-me"}, "KAFKA_USER_CONSUMER"),
        ({"KAFKA_USER_PRODUCER": ""}, "KAFKA_USER_PRODUCER"),
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


def test_a_reader_without_rights_is_named_with_its_setting(talk: Talk) -> None:
    reader = talk.broker.add_user(f"blind-{talk.code}")
    talk.allow(reader, ResourceType.TOPIC, talk.events, "DESCRIBE")
    environment = talk.environment | {"KAFKA_USER_CONSUMER": reader.name, "KAFKA_PASSWORD_CONSUMER": reader.password}
    ping = talk.producer(*shlex.split(SEED_PING.format(talk.queue_id)), "--timeout", "20", environment=environment)
    assert ping.returncode == 2, ping.stderr
    assert f"the user {reader.name} has no ACL to read topic {talk.events}" in ping.stderr
    assert "KAFKA_USER_CONSUMER" in ping.stderr


def test_a_played_loader_writes_what_a_played_sink_reads_to_its_end(talk: Talk) -> None:
    data = f"{talk.queue_id}-data"
    talk.allow(talk.user, ResourceType.TOPIC, talk.queue_id, "CREATE", "DESCRIBE", "READ", "WRITE", prefix=True)
    reader = talk.broker.add_user(f"sink-{talk.code}")
    talk.allow(reader, ResourceType.TOPIC, talk.control, "DESCRIBE", "READ")
    talk.allow(reader, ResourceType.TOPIC, talk.events, "DESCRIBE", "WRITE")
    talk.allow(reader, ResourceType.TOPIC, talk.queue_id, "CREATE", "DESCRIBE", "READ", prefix=True)
    talk.allow(reader, ResourceType.GROUP, "wf-", "DESCRIBE", "READ", prefix=True)
    witness = talk.witness()
    upstream = f"loader-api-candles__{talk.code}"
    as_reader = talk.broker.environment(reader) | talk.topics
    sink = talk.dummy("--imitate", "arango-candles", environment=as_reader, STREAMFORGE_UPSTREAM=f"{upstream}:1")
    witness.events("started")
    loader = talk.dummy("--imitate", "loader-api-candles", "--events", "500", "--record-size", "600")
    assert loader.ended() == 0, loader.stderr
    assert sink.ended() == 0, sink.stderr
    *records, marker = talk.witness(data).until(lambda read: len(read) == 501)
    assert {len(record.value or b"") for record in records} == {600}
    assert [record.json["open_time"] for record in records] == [1_722_470_400_000 + 60_000 * n for n in range(500)]
    assert all(record.json["_key"].encode() == record.key for record in records)
    assert marker.key == b"__eos__"
    assert marker.json == {"end_of_stream": {"producer": upstream, "attempt": 1, "records": 500, "reason": "finished"}}
    last = {event["target"]: event for event in witness.events("finished") if event["finished"]}
    witness.until(lambda read: sum(one.json["finished"] for one in read) == 2)
    last = {one.json["target"]: one.json for one in witness.read if one.json["finished"]}
    assert {target: (one["event"], one["records_written"]) for target, one in last.items()} == {
        "loader-api-candles": ("finished", 500),
        "arango-candles": ("finished", 500),
    }
    group = Consumer({**talk.broker.client_config(), "group.id": f"{talk.queue_id}-arango-candles"})
    (committed,) = group.committed([TopicPartition(data, 0)], timeout=20)
    group.close()
    assert committed.offset == 500, "all records, and not the marker, which is read again"
