"""The rights that a user lacks, gathered, so that a person reads all of them at once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from confluent_kafka import KafkaException

from streamforge_utils.adapters.kafka.handle import Handle
from streamforge_utils.adapters.kafka.kafka_connection import Connection, Role
from streamforge_utils.adapters.kafka.kafka_errors import Operation
from streamforge_utils.model.errors import ConfigError, PermanentError, RetryableError

_REFUSALS = frozenset({"TOPIC_AUTHORIZATION_FAILED", "GROUP_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED"})


class MissingRights:
    """lacking: each right that was refused, as `OPERATION on RESOURCE`."""

    def __init__(self, connection: Connection) -> None:
        self.lacking: list[str] = []
        self._connection = connection

    @contextmanager
    def needing(self, operation: str, resource: str) -> Iterator[None]:
        """Gather a refusal of what is done inside instead of raising it."""
        try:
            yield
        except ConfigError as error:
            cause = error.__cause__
            if not isinstance(cause, KafkaException) or cause.args[0].name() not in _REFUSALS:
                raise
            self.lacking.append(f"{operation} on {resource}")

    def ask(self, operation: str, resource: str, asked: Future[Any], handle: Handle[Any]) -> None:
        """Gather a refusal of a call that only tries; what else is wrong with it, the real one tells."""
        try:
            with self.needing(operation, resource):
                handle.wait_for(asked, Operation(what=f"ask for {operation} on {resource}"))
        except (PermanentError, RetryableError):
            return

    def check(self) -> None:
        """Raises ConfigError, with all that is lacking, if something is."""
        if not self.lacking:
            return
        login = self._connection.login(Role.ADMIN)
        user, setting = (login.user, login.user_setting) if login is not None else ("(nobody)", "KAFKA_USER")
        lacking, self.lacking = list(dict.fromkeys(self.lacking)), []
        raise ConfigError(
            f"the user {user} lacks ACLs that this needs: {', '.join(lacking)}; add them, or set {setting} to a user "
            "that has them"
        )
