"""How the brokers are reached, and the configuration of every client of librdkafka."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from streamforge_utils.model.errors import ConfigError
from streamforge_utils.model.secret import Secret
from streamforge_utils.ports.bus import HEADERS_BYTES

BATCH_MESSAGES = 10_000
BATCH_BYTES = 8 * 1024 * 1024
"""Of one batch handed to librdkafka; its own queue holds a few of them."""

MESSAGE_BYTES = 1024 * 1024 + 4096
"""What a topic made here takes of one message, with what Kafka adds to it; a little more than Kafka's own default."""

SEND_S = 30.0
"""How long librdkafka tries to have a message confirmed."""

SESSION_S = 6.0
"""A member of a group that sends nothing for so long is replaced; brokers accept no less unless configured to."""

MEMBER_IDLE_S = 900.0
"""How long a member may take over one batch: as long as a store may be waited for."""


class Role(StrEnum):
    """What a client is for: it decides the user that it logs in as."""

    PRODUCER = "producer"
    CONSUMER = "consumer"
    ADMIN = "admin"


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """The user of a client. user_setting, password_setting: where they were read, for messages."""

    user: str
    password: Secret
    user_setting: str = "KAFKA_USER"
    password_setting: str = "KAFKA_PASSWORD"  # noqa: S105 - the name of a variable


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """The way to the brokers.

    security_protocol: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL. ca_path: a PEM file of the CAs that may have signed
    the brokers' certificates; None: those of the system. logins: one for each role; none without SASL.
    """

    bootstrap_servers: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "SCRAM-SHA-512"
    ca_path: Path | None = None
    ca_setting: str = "KAFKA_CA_PATH"
    logins: dict[Role, Login] = {}

    @property
    def encrypted(self) -> bool:
        """Whether connections use TLS."""
        return self.security_protocol in ("SSL", "SASL_SSL")

    def login(self, role: Role) -> Login | None:
        """The user of a client of this role."""
        return self.logins.get(role)

    def config(self, role: Role) -> dict[str, Any]:
        """The configuration of a client. Raises ConfigError if the CA file cannot be used."""
        config: dict[str, Any] = {
            "bootstrap.servers": self.bootstrap_servers,
            "security.protocol": self.security_protocol,
            "client.id": f"streamforge-{role}",
            "socket.keepalive.enable": True,
            "socket.nagle.disable": True,
            "reconnect.backoff.ms": 100,
            "reconnect.backoff.max.ms": 2000,
            "retry.backoff.ms": 50,
            "retry.backoff.max.ms": 500,
            # For an unknown topic we ask again ourselves, as we know whether it was just made.
            "topic.metadata.propagation.max.ms": 1000,
            "topic.metadata.refresh.interval.ms": 60_000,
            # A broker that wants TLS closes the connection at the first request.
            "log.connection.close": True,
        }
        login = self.login(role)
        if login is not None:
            config |= {
                "sasl.mechanism": self.sasl_mechanism,
                "sasl.username": login.user,
                "sasl.password": login.password.reveal(),
            }
        if self.encrypted and self.ca_path is not None:
            self._check_ca(self.ca_path)
            config["ssl.ca.location"] = str(self.ca_path)
        if role is Role.PRODUCER:
            config |= _PRODUCER
        elif role is Role.CONSUMER:
            config |= _CONSUMER
        return config

    def ca_stamp(self) -> object:
        """Changes when the CA file is replaced."""
        if not self.encrypted or self.ca_path is None:
            return None
        try:
            found = os.stat(self.ca_path)
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size

    def _check_ca(self, path: Path) -> None:
        try:
            text = path.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"{self.ca_setting}: the file {path} cannot be read ({error.strerror}): "
                "name the PEM file of the CA that signed the broker's certificate"
            ) from error
        if b"-----BEGIN CERTIFICATE-----" not in text:
            raise ConfigError(
                f"{self.ca_setting}: the file {path} holds no PEM certificate: "
                "name the PEM file of the CA that signed the broker's certificate"
            )


def fetched_at_most(ahead_bytes: int) -> dict[str, Any]:
    """The configuration of a consumer that fetches about so much ahead; a message that is larger comes all the same."""
    return {
        "queued.min.messages": 1,
        "queued.max.messages.kbytes": max(1, ahead_bytes // 1024),
        "fetch.max.bytes": max(ahead_bytes, _FETCH_LEAST_BYTES),
        "max.partition.fetch.bytes": max(1, ahead_bytes),
    }


_FETCH_LEAST_BYTES = 1_000_000
"""librdkafka wants it to be no less than its `message.max.bytes`, of which this is the default."""

_PRODUCER: dict[str, Any] = {
    "enable.idempotence": True,
    "acks": "all",
    # `flush` does not wait for it: small sends are not slowed, and large ones are cut into full batches only.
    "linger.ms": 50,
    "batch.size": 1_000_000,
    # Of any topic: what another one takes less is refused by the broker.
    "message.max.bytes": MESSAGE_BYTES + HEADERS_BYTES,
    "delivery.timeout.ms": int(SEND_S * 1000),
    "queue.buffering.max.messages": 4 * BATCH_MESSAGES,
    "queue.buffering.max.kbytes": 4 * BATCH_BYTES // 1024,
    # One partition for messages without a key, drawn for each.
    "partitioner": "consistent_random",
    "sticky.partitioning.linger.ms": 0,
    # Only failures are called back: success is that nothing is left.
    "delivery.report.only.error": True,
}

_CONSUMER: dict[str, Any] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "earliest",
    # Tells how far the offsets without a message go that lie behind the last one.
    "enable.partition.eof": True,
    "allow.auto.create.topics": False,
    # The classic protocol: its members themselves set how long they may send nothing (of the newer one the broker sets
    # 45 s), so a killed sink is replaced soon. Cooperative: a member that keeps a partition is not interrupted.
    "partition.assignment.strategy": "cooperative-sticky",
    "session.timeout.ms": int(SESSION_S * 1000),
    "heartbeat.interval.ms": 500,
    "max.poll.interval.ms": int(MEMBER_IDLE_S * 1000),
    "queued.min.messages": 2 * BATCH_MESSAGES,
    "queued.max.messages.kbytes": 32 * 1024,
    "fetch.wait.max.ms": 100,
    "fetch.queue.backoff.ms": 10,
    "fetch.error.backoff.ms": 100,
}
