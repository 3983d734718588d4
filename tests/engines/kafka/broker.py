"""A real Apache Kafka broker as a process: one node, plain, or secured as in the cluster.

Secured means TLS with a CA made on the spot, SCRAM-SHA-512 users, and an authoriser that refuses what no ACL allows.
The broker listens on loopback only, keeps its ports and data over a restart, and dies with the process that made it.
"""

from __future__ import annotations

import base64
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)

from tests.engines.kafka import jars
from tests.engines.kafka.disk import SmallDisk
from tests.engines.kafka.properties import ADMIN, HOST, Ports, server_properties
from tests.engines.process import EngineError, EngineProcess, free_ports
from tests.engines.proxy import Proxy
from tests.engines.tls import Authority

START_LIMIT_S = 600.0
FORMAT_LIMIT_S = 360.0
ADMIN_LIMIT_S = 90.0
_SCRAM_ITERATIONS = 4096


@dataclass(frozen=True)
class User:
    """A SCRAM user. No ACL comes with it."""

    name: str
    password: str

    def __repr__(self) -> str:
        return f"User({self.name!r}, password hidden)"


class Broker:
    """A broker on `folder`, which holds everything of it: settings, keys, log and, without `disk`, the data.

    authority: who signs its certificate (secured only; a new one by default). disk: where the data lies instead.
    settings: more lines of server.properties, or other values. optimized: compiled for speed, as for a benchmark; a
    broker of a test, which lives for seconds, uses less processor time without that.
    """

    def __init__(
        self,
        folder: Path,
        *,
        secured: bool = False,
        authority: Authority | None = None,
        disk: SmallDisk | None = None,
        heap_mb: int = 512,
        settings: Mapping[str, str] | None = None,
        optimized: bool = False,
    ) -> None:
        self.folder = folder
        self.secured = secured
        self.log_path = folder / "broker.log"
        self.admin = User(ADMIN, secrets.token_urlsafe(18)) if secured else None
        self._ports = Ports(*free_ports(4))
        self._disk = disk
        self._heap_mb = heap_mb
        self._settings = dict(settings or {})
        self._compiler = [] if optimized else ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
        self._process: EngineProcess | None = None
        self._formatted = False
        self._client: AdminClient | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.ca_path = folder / "ca.crt" if secured else None
        if secured:
            self.trust(authority or Authority.create())

    @property
    def bootstrap(self) -> str:
        """`host:port` of the broker itself."""
        return f"{HOST}:{self._ports.client}"

    @property
    def proxied_bootstrap(self) -> str:
        """`host:port` of the proxy: all who connect here stay behind it."""
        return f"{HOST}:{self._ports.proxy}"

    @property
    def pid(self) -> int:
        """The process id of the broker's Java. Raises EngineError if it does not run."""
        if self._process is None:
            raise EngineError("the broker does not run")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether its process is alive."""
        return self._process is not None and self._process.running

    def proxy(self) -> Proxy:
        """A proxy in front of the broker, not yet started; one at a time."""
        return Proxy((HOST, self._ports.proxy), (HOST, self._ports.proxied))

    # Its life

    def start(self) -> None:
        """Start it on its data and wait until it answers. Raises EngineError, with the end of its log."""
        if self.running:
            raise EngineError("the broker runs already")
        self._write_properties()
        if not self._formatted:
            self._format()
        command = self._java("kafka.Kafka", str(self._properties), heap_mb=self._heap_mb)
        self._process = EngineProcess("the broker", command, self.log_path)
        self._process.start()
        try:
            self._await_answer()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """End it in order (SIGTERM), by force if that takes too long; without effect on one that does not run."""
        if self._process is not None:
            self._process.stop()

    def kill(self) -> None:
        """End it at once (SIGKILL); without effect on one that does not run."""
        if self._process is not None:
            self._process.kill()

    def wait(self, limit_s: float | None = None) -> None:
        """Wait until it ends by itself, as it does when its disk fails. Raises TimeoutExpired."""
        if self._process is not None:
            self._process.wait(limit_s)

    def log(self) -> str:
        """The end of what it wrote."""
        return "" if self._process is None else self._process.log()

    # Security

    def trust(self, authority: Authority) -> None:
        """Have the certificate signed by `authority` from the next start on; `ca_path` holds what clients trust."""
        assert self.ca_path is not None
        _write_secret(self.folder / "broker.pem", authority.issue())
        self.ca_path.write_text(authority.pem)

    def add_user(self, name: str, password: str | None = None) -> User:
        """Make a SCRAM user, or give it another password. Raises EngineError."""
        user = User(name, password or secrets.token_urlsafe(18))
        change = UserScramCredentialUpsertion(
            name, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, _SCRAM_ITERATIONS), user.password.encode()
        )
        client = self.admin_client()
        for answer in client.alter_user_scram_credentials([change], request_timeout=ADMIN_LIMIT_S).values():
            answer.result(ADMIN_LIMIT_S)
        return user

    def client_config(self, user: User | None = None, *, proxied: bool = False) -> dict[str, str | int | float | bool]:
        """Settings of a librdkafka client. user: of a secured broker; the administrator by default."""
        config: dict[str, str | int | float | bool] = {
            "bootstrap.servers": self.proxied_bootstrap if proxied else self.bootstrap
        }
        if self.secured:
            who = user or self.admin
            assert who is not None
            config |= {
                "security.protocol": "SASL_SSL",
                "sasl.mechanism": "SCRAM-SHA-512",
                "sasl.username": who.name,
                "sasl.password": who.password,
                "ssl.ca.location": str(self.ca_path),
            }
        return config

    def environment(self, user: User | None = None, *, proxied: bool = False) -> dict[str, str]:
        """The variables that make a service use this broker. user: as in `client_config`."""
        found = {"KAFKA_BOOTSTRAP_SERVERS": self.proxied_bootstrap if proxied else self.bootstrap}
        if self.secured:
            who = user or self.admin
            assert who is not None
            found |= {
                "KAFKA_USER": who.name,
                "KAFKA_PASSWORD": who.password,
                "KAFKA_CA_PATH": str(self.ca_path),
            }
        return found

    def admin_client(self) -> AdminClient:
        """A client that may do everything, the same one until the broker trusts another authority."""
        if self._client is None:
            # Refused connections are expected while it starts; what fails is raised.
            self._client = AdminClient({**self.client_config(), "log_level": 0})
        return self._client

    def create_topic(self, new: NewTopic) -> None:
        """Make a topic; returns once it is known."""
        self.admin_client().create_topics([new])[new.topic].result(ADMIN_LIMIT_S)
        self.await_topic(new.topic)

    def await_topic(self, name: str) -> None:
        """Wait until a topic that was made has a leader and is known. Raises EngineError."""
        deadline = time.monotonic() + ADMIN_LIMIT_S
        while time.monotonic() < deadline:
            found = self.admin_client().list_topics(name, timeout=ADMIN_LIMIT_S).topics[name]
            if found.error is None and all(part.leader >= 0 for part in found.partitions.values()):
                return
            time.sleep(0.02)
        raise EngineError(f"the topic {name} is not known after {ADMIN_LIMIT_S:.0f} s")

    def clear(self) -> None:
        """Remove every topic, rule and user of a secured broker but its administrator. Raises EngineError."""
        client = self.admin_client()
        anything: Any = None
        everything = AclBindingFilter(
            ResourceType.ANY,
            anything,
            ResourcePatternType.ANY,
            anything,
            anything,
            AclOperation.ANY,
            AclPermissionType.ANY,
        )
        client.delete_acls([everything])[everything].result(ADMIN_LIMIT_S)
        asked: Any = client.describe_user_scram_credentials()  # of all users at once, though its type says otherwise
        users = [name for name in asked.result(ADMIN_LIMIT_S) if name != ADMIN]
        gone: list[Any] = [UserScramCredentialDeletion(name, ScramMechanism.SCRAM_SHA_512) for name in users]
        for answer in client.alter_user_scram_credentials(gone).values() if gone else ():
            answer.result(ADMIN_LIMIT_S)
        topics = self._topics()
        for answer in client.delete_topics(topics).values() if topics else ():
            answer.result(ADMIN_LIMIT_S)
        deadline = time.monotonic() + ADMIN_LIMIT_S
        while self._topics():
            if time.monotonic() > deadline:
                raise EngineError(f"topics are still there after {ADMIN_LIMIT_S:.0f} s")
            time.sleep(0.02)

    # Inside

    def _topics(self) -> list[str]:
        found = self.admin_client().list_topics(timeout=ADMIN_LIMIT_S).topics
        return [name for name in found if not name.startswith("__")]

    def _write_properties(self) -> None:
        self._client = None
        settings = server_properties(
            self._ports,
            data=self._data,
            keystore=self.folder / "broker.pem" if self.secured else None,
            truststore=self.ca_path,
            admin_password=self.admin.password if self.admin else None,
        )
        lines = [f"{name}={value}\n" for name, value in {**settings, **self._settings}.items()]
        _write_secret(self._properties, "".join(lines))

    @property
    def _properties(self) -> Path:
        return self.folder / "server.properties"

    @property
    def _data(self) -> Path:
        return self._disk.folder if self._disk else self.folder / "data"

    def _java(self, main: str, *arguments: str, heap_mb: int) -> list[str]:
        command = [
            jars.java(),
            f"-Xmx{heap_mb}m",
            *self._compiler,
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Dorg.slf4j.simpleLogger.log.kafka.server=info",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Djava.net.preferIPv4Stack=true",
            # A failure leaves its trace in the log, not in the folder the tests run in.
            f"-XX:ErrorFile={self.folder}/java-%p.log",
            *("-cp", jars.class_path(), main, *arguments),
        ]
        return self._disk.command(command) if self._disk else command

    def _format(self) -> None:
        # Beginning with a zero byte it begins with A, not with a - that would be taken for an option.
        cluster = base64.urlsafe_b64encode(bytes(1) + secrets.token_bytes(15)).decode().rstrip("=")
        arguments = ["kafka.tools.StorageTool", "format", "--standalone", "-t", cluster, "-c", str(self._properties)]
        if self.admin is not None:
            arguments += ["--add-scram", f"SCRAM-SHA-512=[name={self.admin.name},password={self.admin.password}]"]
        # In a file, which Java reads: what is in the command, everybody sees in the list of processes.
        path = self.folder / "format.arguments"
        _write_secret(path, "".join(f'"{one}"\n' for one in arguments))
        try:
            command = self._java(f"@{path}", heap_mb=128)
            done = subprocess.run(command, capture_output=True, text=True, timeout=FORMAT_LIMIT_S, cwd=self.folder)
        finally:
            path.unlink()
        if done.returncode != 0:
            raise EngineError(f"the broker's storage could not be formatted:\n{(done.stdout + done.stderr)[-3000:]}")
        self._formatted = True

    def _await_answer(self) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        # Java first: librdkafka backs off after each refused connection.
        while not _listens(self._ports.client):
            self._still_starting(deadline)
            time.sleep(0.05)
        while True:
            try:
                self.admin_client().list_topics(timeout=12)
                return
            except KafkaException:
                self._still_starting(deadline)

    def _still_starting(self, deadline: float) -> None:
        assert self._process is not None
        self._process.check()
        if time.monotonic() > deadline:
            raise EngineError(f"the broker did not answer within {START_LIMIT_S:.0f} s:\n{self.log()}")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def _write_secret(path: Path, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
