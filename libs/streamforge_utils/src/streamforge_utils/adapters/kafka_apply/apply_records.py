"""What `streamforge kafka apply` keeps: notes of what it made, and passwords of users."""

from __future__ import annotations

import os
import secrets
import string
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import NewTopic

from streamforge_utils.adapters.kafka.kafka_client import Handle
from streamforge_utils.adapters.kafka.kafka_connection import Connection, Role
from streamforge_utils.adapters.kafka.kafka_errors import Operation
from streamforge_utils.adapters.kafka_apply.manifest_reader import WantedUser
from streamforge_utils.model.errors import ConfigError, RetryableError
from streamforge_utils.model.secret import Secret

NOTES = "streamforge-kafka-apply"
"""A compacted topic, so that the notes lie where the things lie."""

_CONFIG = {"cleanup.policy": "compact"}
_LIMIT_S = 15.0
_LENGTH = 32
_LETTERS = string.ascii_letters + string.digits


class NotesTopic:
    """Reads and writes the notes. Every method blocks.

    A message's key names a thing; its value is `{}` as long as the thing is ours, and nothing once it is not.
    """

    def __init__(self, connection: Connection) -> None:
        self._reading: Handle[Any] = Handle(connection, Role.ADMIN, _consumer, lambda client: client.close())
        self._writing: Handle[Any] = Handle(connection, Role.ADMIN, _producer, lambda client: client.purge())

    @staticmethod
    def new() -> NewTopic:
        """The topic as it is made."""
        return NewTopic(NOTES, 1, config=_CONFIG)

    def read(self) -> frozenset[str]:
        """The keys of all that is ours; the topic must exist. Raises ConfigError or RetryableError."""
        operation = Operation(what=f"read topic {NOTES}", topic=NOTES, needs="read")
        client = self._reading.get()
        ours = set[str]()
        give_up = time.monotonic() + _LIMIT_S
        try:
            client.assign([TopicPartition(NOTES, 0, 0)])
            while time.monotonic() < give_up:
                for message in client.consume(1000, 0.2):
                    error = message.error()
                    if error is None:
                        key = (message.key() or b"").decode(errors="replace")
                        (ours.discard if message.value() is None else ours.add)(key)
                    elif error.code() == KafkaError._PARTITION_EOF:
                        return frozenset(ours)
                    elif error.name() != "GROUP_AUTHORIZATION_FAILED":  # it uses none
                        raise self._reading.error_of(error, operation) from KafkaException(error)
                self._reading.diagnostics.check()
        except KafkaException as error:
            raise self._reading.error(error, operation) from error
        finally:
            self._reading.drop()
        raise RetryableError(f"topic {NOTES} could not be read within {_LIMIT_S:g} s; try again")

    def write(self, keys: Iterable[str], *, ours: bool) -> None:
        """Note that the things are ours, or no longer. Raises ConfigError or RetryableError."""
        operation = Operation(what=f"write topic {NOTES}", topic=NOTES, needs="write")
        client = self._writing.get()
        failed = list[KafkaError]()

        def delivered(error: KafkaError | None, _: object) -> None:
            if error is not None:
                failed.append(error)

        try:
            for key in keys:
                client.produce(NOTES, key=key.encode(), value=b"{}" if ours else None, on_delivery=delivered)
        except KafkaException as error:
            raise self._writing.error(error, operation) from error
        left = client.flush(_LIMIT_S)
        if failed:
            raise self._writing.error_of(failed[0], operation)
        if left:
            raise RetryableError(f"topic {NOTES}: {left} notes were not confirmed within {_LIMIT_S:g} s; try again")

    def close(self) -> None:
        """End the clients."""
        self._reading.drop()
        self._writing.drop()


def _consumer(config: dict[str, Any]) -> Consumer:
    logger = config.pop("logger")
    # Nothing is committed: the group is a name that librdkafka asks for.
    reading = {"group.id": NOTES, "enable.auto.commit": False, "enable.partition.eof": True}
    return Consumer({**config, **reading}, logger=logger)


def _producer(config: dict[str, Any]) -> Producer:
    logger = config.pop("logger")
    writing = {"enable.idempotence": True, "acks": "all", "delivery.timeout.ms": int(_LIMIT_S * 1000)}
    return Producer({**config, **writing}, logger=logger)


class SecretsFolder:
    """Passwords, as in mounted Secrets: `FOLDER/SECRET/KEY`. Makes those that may be made, readable by nobody else."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, user: WantedUser) -> Path:
        """Where the password of the user lies."""
        return self._folder / user.secret.name / user.secret.key

    def read(self, user: WantedUser) -> Secret | None:
        """The password; None if there is none. Raises ConfigError for a file that holds none or cannot be read."""
        path = self.path(user)
        try:
            text = path.read_text(encoding="utf-8").strip("\r\n")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--secrets: the password file {path} cannot be read ({error})") from error
        if not text:
            raise ConfigError(f"--secrets: the password file {path} is empty; remove it to have a password made")
        return Secret(text)

    def require(self, user: WantedUser) -> Secret:
        """The password, made now if it may be. Raises ConfigError if it must be given and is not."""
        found = self.read(user)
        if found is not None:
            return found
        if user.given:
            raise ConfigError(
                f"{user.source}: its password is to come from the Secret {user.secret.name}, key {user.secret.key}: "
                f"write it to {self.path(user)}"
            )
        return self.renew(user)

    def renew(self, user: WantedUser) -> Secret:
        """Make another password, in place of the one that is there, if one is. Raises ConfigError."""
        path = self.path(user)
        text = "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))
        new = path.with_name(f".{path.name}.new")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            new.unlink(missing_ok=True)
            file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(file, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(file)
            new.replace(path)
        except OSError as error:
            raise ConfigError(f"--secrets: the password file {path} cannot be written ({error.strerror})") from error
        return Secret(text)
