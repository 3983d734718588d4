"""Topics of commands and events of one's own on a shared broker, services as processes on them, and a witness."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Timer
from typing import IO, Any

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from streamforge_utils.adapters.kafka.topics import config_of
from streamforge_utils.ports.bus import TopicSpec
from tests.engines.kafka.broker import Broker, User
from tests.places import ROOT

Json = dict[str, Any]
LIMIT_S = 180.0
SERVICE = ROOT / "services" / "dummy-service"


class Read:
    """A message as the witness read it."""

    def __init__(self, key: bytes | None, value: bytes | None) -> None:
        self.key = key
        self.value = value

    @property
    def json(self) -> Json:
        """The value, which must be a JSON object."""
        found = json.loads(self.value or b"")
        assert isinstance(found, dict)
        return found


class Witness:
    """Reads one topic from its beginning as the administrator, with a client that is not ours."""

    def __init__(self, broker: Broker, topic: str) -> None:
        self.read: list[Read] = []
        self._client = Consumer({**broker.client_config(), "group.id": "witness", "enable.auto.commit": False})
        self._client.assign([TopicPartition(topic, 0, 0)])

    def until(self, enough: Callable[[list[Read]], bool], limit_s: float = LIMIT_S) -> list[Read]:
        """Read on until `enough` of all that was read; all of it. Fails after `limit_s`."""
        give_up = time.monotonic() + limit_s
        while not enough(self.read):
            assert time.monotonic() < give_up, [one.value for one in self.read[-20:]]
            message = self._client.poll(0.1)
            if message is not None:
                assert message.error() is None, message.error()
                self.read.append(Read(message.key(), message.value()))
        return self.read

    def events(self, *words: str) -> list[Json]:
        """Read until each of these events was said; all events so far."""
        self.until(lambda read: set(words) <= {one.json["event"] for one in read})
        return [one.json for one in self.read]

    def close(self) -> None:
        self._client.close()


class Talk:
    """A queue and topics of its own, and a user who may use them and nothing else.

    Everything that is started or opened here ends with `close`.
    """

    def __init__(self, broker: Broker, folder: Path) -> None:
        code = uuid.uuid4().hex[:6]
        self.broker = broker
        self.folder = folder
        self.queue_id = f"wf-dummy-api_candles_1m-20240801-{code}"
        self.code = code
        self.control, self.events = f"control-{code}", f"events-{code}"
        self.user = broker.add_user(f"user-{code}")
        self._ended = ExitStack()
        # As the services make them where nobody has.
        specs = [TopicSpec(name=name) for name in (self.control, self.events)]
        made = broker.admin_client().create_topics([NewTopic(one.name, 1, 1, config=config_of(one)) for one in specs])
        for answer in made.values():
            answer.result(LIMIT_S)
        for topic in (self.control, self.events):
            self.allow(self.user, ResourceType.TOPIC, topic, "DESCRIBE", "READ", "WRITE")

    def allow(self, user: User, kind: ResourceType, name: str, *operations: str, prefix: bool = False) -> None:
        """Give a user rights to a topic or group, or to all whose names begin so."""
        pattern = ResourcePatternType.PREFIXED if prefix else ResourcePatternType.LITERAL
        rules = [
            AclBinding(kind, name, pattern, f"User:{user.name}", "*", AclOperation[one], AclPermissionType.ALLOW)
            for one in operations
        ]
        for answer in self.broker.admin_client().create_acls(rules).values():
            answer.result(LIMIT_S)

    @property
    def topics(self) -> dict[str, str]:
        """The variables that name the topics."""
        return {"QUEUE_CONTROL_TOPIC": self.control, "QUEUE_EVENTS_TOPIC": self.events}

    @property
    def environment(self) -> dict[str, str]:
        """All that a service is told: where the brokers are, who logs in, the topics."""
        return self.broker.environment(self.user) | self.topics

    def witness(self, topic: str | None = None) -> Witness:
        """One for a topic, by default that of events."""
        found = Witness(self.broker, topic or self.events)
        self._ended.callback(found.close)
        return found

    def dummy(self, *options: str, environment: Mapping[str, str] | None = None, **more: str) -> Running:
        """`python -m app.main`, as a person starts it. environment: in place of this talk's."""
        said = {**(self.environment if environment is None else environment), "QUEUE_ID": self.queue_id, **more}
        return self.start(["python", "-m", "app.main", *options], said, SERVICE)

    def producer(self, *options: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """`debug_producer.py`, run to its end."""
        return subprocess.run(
            ["python", "services/dummy-service/debug_producer.py", *options],
            cwd=ROOT,
            env=_whole(self.environment if environment is None else environment),
            capture_output=True,
            text=True,
            timeout=LIMIT_S * 2,
        )

    def start(self, command: Sequence[str], environment: Mapping[str, str], cwd: Path = ROOT) -> Running:
        """Any command as a process with these variables and no others."""
        running = Running(command, _whole(environment), cwd, self.folder)
        self._ended.callback(running.close)
        return running

    def close(self) -> None:
        self._ended.close()


class Running:
    """A process whose stdout is read line by line; its stderr goes to a file."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], cwd: Path, folder: Path) -> None:
        self._log = folder / f"stderr-{uuid.uuid4().hex[:8]}"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command, env=environment, cwd=cwd, stdout=subprocess.PIPE, stderr=log, text=True
            )

    @property
    def stderr(self) -> str:
        """What it wrote there."""
        return self._log.read_text(errors="replace")

    def line(self, wanted: Callable[[str], bool], limit_s: float = LIMIT_S) -> str:
        """The next line that is wanted. Fails after `limit_s` (and ends the process), or at the end."""
        assert self.process.stdout is not None
        stdout: IO[str] = self.process.stdout
        timer = Timer(limit_s, self.process.kill)
        timer.start()
        try:
            found = next((line for line in stdout if wanted(line)), None)
        finally:
            timer.cancel()
        assert found is not None, self.stderr
        return found

    def ended(self, limit_s: float = LIMIT_S) -> int:
        """Its exit code, once it ended by itself."""
        try:
            self.process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end within {limit_s:g} s:\n{self.stderr}") from None
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=LIMIT_S)
        print(self.process.args, self.process.returncode, self.stderr, sep="\n")  # shown where a test fails


def metrics(started: Json) -> dict[str, float]:
    """What a worker that said `started` counts, by the metric's name with its labels."""
    port = started["extra"]["metrics_port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=LIMIT_S) as answer:
        lines = answer.read().decode().splitlines()
    return {
        name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))
    }


def _whole(environment: Mapping[str, str]) -> dict[str, str]:
    # The virtual environment's python goes first, as if it were activated; nothing else is inherited.
    return {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", **environment}
