"""Clients of others on the secured broker: their commands are obeyed, their rubbish disturbs nothing and is counted."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.helpers import create_ssl_context

from tests.engines.kafka.broker import Broker
from tests.engines.kafka.talk import LIMIT_S, Json, Running, Talk, Witness, metrics
from tests.engines.process import EngineError

MILLION = 1_000_000


LOGS_IN_SINCE = (2, 6, 1)
"""The librdkafka whose SCRAM is as RFC 5802 has it."""


class Kcat:
    """Writes and reads topics, as a person does with kcat, a client that knows nothing of us.

    Linux distributions build it with a librdkafka below 2.6.1, which no Kafka 4 lets log in by SCRAM
    (edenhill/kcat#462, confluentinc/librdkafka#4895). There the newer one that comes with confluent-kafka stands in.
    config: settings of librdkafka; they go into a file, for everybody reads arguments.
    """

    def __init__(self, config: Mapping[str, object], folder: Path) -> None:
        found = shutil.which("kcat")
        if found is None:
            raise EngineError("there is no kcat on PATH: install it (the package is called kcat)")
        self._path = folder / "kcat.conf"
        self._path.touch(0o600)
        self._path.write_text("".join(f"{name}={value}\n" for name, value in config.items()))
        self._start = [found, "-F", str(self._path), "-q"]
        self.environment = _able_to_log_in(found, folder)

    def send(self, topic: str, lines: str, *options: str) -> None:
        """One message for each line."""
        self._run(["-P", "-t", topic, *options], lines.encode())

    def reading(self, topic: str) -> list[str]:
        """The command that prints every message of a topic, from the first on, a line each, until it is ended."""
        return [*self._start, "-C", "-t", topic, "-o", "beginning", "-u", "-f", "%s\n"]

    def _run(self, arguments: list[str], standard_input: bytes) -> None:
        done = subprocess.run(
            [*self._start, *arguments],
            env=os.environ | self.environment,
            input=standard_input,
            capture_output=True,
            timeout=LIMIT_S,
        )
        assert done.returncode == 0, done.stderr.decode()


def _able_to_log_in(kcat: str, folder: Path) -> dict[str, str]:
    """The variables with which kcat has a librdkafka that can. Raises EngineError."""
    if _librdkafka(kcat, {}) >= LOGS_IN_SINCE:
        return {}
    package = Path(confluent_kafka.__file__).parent
    bundled = next(package.with_name("confluent_kafka.libs").glob("librdkafka-*.so.1"), None)
    if bundled is not None:
        (folder / "librdkafka.so.1").symlink_to(bundled)
        environment = {"LD_LIBRARY_PATH": str(folder)}
        if _librdkafka(kcat, environment) >= LOGS_IN_SINCE:
            return environment
    least = ".".join(map(str, LOGS_IN_SINCE))
    raise EngineError(f"{kcat} has a librdkafka that cannot log in at Kafka 4: install one with {least} or newer")


def _librdkafka(kcat: str, environment: Mapping[str, str]) -> tuple[int, ...]:
    told = subprocess.run([kcat, "-V"], env=os.environ | environment, capture_output=True, text=True, timeout=LIMIT_S)
    found = re.search(r"librdkafka (\d+)\.(\d+)\.(\d+)", told.stdout + told.stderr)
    return tuple(map(int, found.groups())) if found else ()


class Scene:
    """A dummy-service that has started, and the clients of others beside it."""

    def __init__(self, talk: Talk) -> None:
        self.talk = talk
        self.queue_id = talk.queue_id
        self.control, self.events = talk.control, talk.events
        self.witness: Witness = talk.witness()
        self.kcat = Kcat(talk.broker.client_config(talk.user), talk.folder)
        self.dummy: Running = talk.dummy("--debug")
        (self.started,) = self.witness.events("started")

    def command(self, command: str, **fields: Any) -> Json:
        """A command for the service, of the least that it takes."""
        return {"queue_id": self.queue_id, "command": command, **fields}

    def pong(self, ping_ts: float) -> Json:
        """The answer to the ping of that time, as the witness read it."""
        found = self.witness.until(lambda read: any(one.json.get("ping_ts") == ping_ts for one in read))
        return next(one.json for one in found if one.json.get("ping_ts") == ping_ts)

    def counted(self) -> dict[str, float]:
        """The commands that were read, by kind."""
        start, end = 'streamforge_commands_total{command="', '",target="dummy-service"}'
        return {
            name.removeprefix(start).removesuffix(end): value
            for name, value in metrics(self.started).items()
            if name.startswith(start)
        }

    def stop(self) -> None:
        """A stop by kcat; the service ends in order."""
        self.kcat.send(self.control, json.dumps(self.command("stop")))
        assert self.dummy.ended() == 0, self.dummy.stderr
        assert self.witness.events("interrupted")[-1]["event"] == "interrupted"


@pytest.fixture
def scene(secured_broker: Broker, tmp_path: Path) -> Iterator[Scene]:
    talk = Talk(secured_broker, tmp_path)
    try:
        yield Scene(talk)
    finally:
        talk.close()


def access(talk: Talk) -> dict[str, Any]:
    """How aiokafka logs in."""
    return {
        "bootstrap_servers": talk.broker.bootstrap,
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": talk.user.name,
        "sasl_plain_password": talk.user.password,
        "ssl_context": create_ssl_context(cafile=str(talk.broker.ca_path)),
    }


@asynccontextmanager
async def aiokafka_producer(talk: Talk, **settings: Any) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(**access(talk), **settings)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


@asynccontextmanager
async def aiokafka_consumer(talk: Talk, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(topic, **access(talk), group_id=None, auto_offset_reset="earliest")
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


def check_pong(scene: Scene, pong: Json, ping_ts: float) -> None:
    """What the first generation promises, at the top level."""
    assert pong["queue_id"] == scene.queue_id
    assert pong["event"] == "pong"
    assert pong["ping_ts"] == ping_ts
    assert isinstance(pong["ponged_at"], float)
    assert abs(pong["ponged_at"] - time.time()) < LIMIT_S
    assert "status" not in pong


def test_kcat_s_ping_is_answered_and_kcat_reads_the_answer(scene: Scene) -> None:
    reading = scene.talk.start(scene.kcat.reading(scene.events), scene.kcat.environment)
    pings: list[Json] = [{"sent_at": time.time()}, {"sent_at": 1732400000}, {"timestamp": 1732400001.25}]
    pings += [
        {"target": "dummy-service", "sent_at": 1.5, "more": {"of": "others"}},
        {"telemetry_id": "x", "sent_at": 2},
    ]
    for options, fields in zip(
        (["-z", "zstd"], ["-k", "any"], ["-H", "a=b"], ["-z", "snappy"], []), pings, strict=True
    ):
        scene.kcat.send(scene.control, json.dumps(scene.command("ping", **fields)), *options)
    for fields in pings[:4]:
        sent = fields.get("sent_at") or fields["timestamp"]
        line = reading.line(lambda line: json.loads(line)["event"] == "pong")
        check_pong(scene, json.loads(line), sent)
    scene.stop()
    assert [one.json["event"] for one in scene.witness.read if one.json["event"] == "pong"] == ["pong"] * 4


async def next_pong(scene: Scene, consumer: AIOKafkaConsumer) -> Json:
    async with asyncio.timeout(LIMIT_S):
        while True:
            message = await consumer.getone()
            assert message.key == scene.queue_id.encode()
            found: Json = json.loads(message.value)
            if found["event"] == "pong":
                return found


async def test_aiokafka_s_ping_is_answered_and_aiokafka_reads_the_answer(scene: Scene) -> None:
    sent_at = time.time()
    async with aiokafka_consumer(scene.talk, scene.events) as consumer, aiokafka_producer(scene.talk) as producer:
        await producer.send_and_wait(scene.control, json.dumps(scene.command("ping", sent_at=sent_at)).encode())
        check_pong(scene, await next_pong(scene, consumer), sent_at)
        # A ping that does not say when it was sent was sent when the broker took it.
        taken = await producer.send_and_wait(scene.control, json.dumps(scene.command("ping")).encode())
        check_pong(scene, await next_pong(scene, consumer), taken.timestamp / 1000)
    await asyncio.to_thread(scene.stop)


def rubbish(queue_id: str) -> dict[str, list[bytes | None]]:
    """What others may write on the topic of commands, by how it must be counted."""
    chance = random.Random(4)

    def command(**fields: Any) -> bytes:
        return json.dumps({"queue_id": queue_id, "command": "ping", "sent_at": 1.0} | fields).encode()

    return {
        "unknown": [command(command=name) for name in ("dance", "", "PING", "stop ", "x" * 200_000, "плясать", "a\0b")],
        "foreign": [
            command(queue_id="wf-other-api_candles_1m-20240801-zzzzzz"),
            command(queue_id=queue_id.upper(), command="stop"),
            command(queue_id="", command="stop"),
            command(queue_id="*", command="stop", target="arango-candles"),
            command(command="stop", telemetry_id="arango-candles__zzzzzz"),
            command(command="stop", attempt=2),
            command(command="dance", queue_id="wf-other"),
        ],
        "invalid": [
            None,
            b"",
            b"{",
            b"null",
            b"stop",
            b'"stop"',
            b"[" * 100_000,
            b'{"command":"stop","queue_id":"*"',
            json.dumps({"command": "stop"}).encode(),
            json.dumps({"queue_id": queue_id}).encode(),
            command(command=None),
            command(command="stop", attempt="1"),
            command(command="stop", payload=[1]),
            command(sent_at="2024-08-01T00:00:00Z"),
            b'{"command":"stop","queue_id":"*","new":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
            b'{"command":"stop","queue_id":"*","sent_at":1e999}',
            b'{"command":"\xff\xfe","queue_id":"*"}',
            '{"command":"stop","queue_id":"*"}'.encode("utf-16"),
            b"\xef\xbb\xbf" + command(command="stop"),
            bytes(range(256)),
            chance.randbytes(MILLION),
            b"\0" * MILLION,
            *(chance.randbytes(1000) for _ in range(1000)),
        ],
    }


async def test_what_is_no_command_for_it_disturbs_nothing_and_is_counted(scene: Scene) -> None:
    found = rubbish(scene.queue_id)
    await asyncio.to_thread(scene.kcat.send, scene.control, json.dumps(scene.command("ping", sent_at=10.0)))
    await asyncio.to_thread(scene.pong, 10.0)
    async with aiokafka_producer(scene.talk, compression_type="gzip", max_request_size=2 * MILLION) as producer:
        for value in (value for values in found.values() for value in values):
            await producer.send(scene.control, value, key=random.Random(5).randbytes(20))
        await producer.flush()
    began = time.monotonic()
    await asyncio.to_thread(scene.kcat.send, scene.control, json.dumps(scene.command("ping", sent_at=11.0)))
    check_pong(scene, await asyncio.to_thread(scene.pong, 11.0), 11.0)
    assert time.monotonic() - began < LIMIT_S
    assert scene.dummy.process.poll() is None
    assert scene.counted() == {"ping": 2, **{kind: len(values) for kind, values in found.items()}}
    heard = [one.json for one in scene.witness.read]
    assert {event["event"] for event in heard} <= {"started", "loading", "pong"}
    assert sum(event["event"] == "pong" for event in heard) == 2
    # One line a minute and kind: rubbish fills no disk either.
    ignored = [line for line in scene.dummy.stderr.splitlines() if "a command was ignored" in line]
    assert 2 <= len(ignored) <= 6
    assert max(map(len, ignored)) < 2000
    await asyncio.to_thread(scene.stop)
