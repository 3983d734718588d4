"""A client of librdkafka that can be made again: after a fatal error, or when the CA file was replaced."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Container
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from confluent_kafka import KafkaException

from streamforge_utils.adapters.kafka.diagnostics import ClientDiagnostics
from streamforge_utils.adapters.kafka.kafka_connection import Connection, Role
from streamforge_utils.adapters.kafka.kafka_errors import Operation
from streamforge_utils.model.errors import ConfigError, RetryableError, StreamForgeError

FIRST_CONTACT_S = 4.5
"""How long a client that never reached a broker tries to."""

CALL_S = 15.0
_SLICE_S = 0.1
_PAUSE_S = 0.05

C = TypeVar("C")
T = TypeVar("T")


class Handle(Generic[C]):
    """Holds a client, made on first use. For the thread of one lane.

    make: from a configuration to the client. discard: ends a client, without waiting for anybody.
    """

    def __init__(
        self,
        connection: Connection,
        role: Role,
        make: Callable[[dict[str, Any]], C],
        discard: Callable[[C], None],
    ) -> None:
        self.connection = connection
        self.role = role
        self.diagnostics = ClientDiagnostics(connection, role)
        self._make = make
        self._discard = discard
        self._client: C | None = None
        self._stamp: object = None
        self._lock = threading.Lock()
        self.closing = threading.Event()
        """Set: calls that wait give up."""

    def get(self) -> C:
        """The client. Raises ConfigError for what librdkafka refuses to begin with."""
        with self._lock:
            if self.stale:
                self._drop()
            if self._client is None:
                self._client = self._made()
            return self._client

    @property
    def ready(self) -> C | None:
        """What `get` would give without making a client. Any thread."""
        client = self._client
        return None if self.stale else client

    @property
    def stale(self) -> bool:
        """Whether `get` would make another client in place of the one there is."""
        renewed = self.diagnostics.untrusted and self.connection.ca_stamp() != self._stamp
        return self._client is not None and (self.diagnostics.fatal or renewed)

    def drop(self) -> None:
        """End the client, if there is one; the next `get` makes another."""
        with self._lock:
            self._drop()

    def wait_for(self, future: Future[T], operation: Operation) -> T:
        """The result of a call to the broker that was begun. Raises what the error means."""
        began = time.monotonic()
        while True:
            try:
                found = future.result(timeout=_SLICE_S)
            except TimeoutError:
                self._serve()
                self.diagnostics.check()
                if self.stale or self._is_late(began):
                    raise self.diagnostics.explain(
                        operation, "_TIMED_OUT", f"no answer within {self._limit_s:g} s"
                    ) from None
            except KafkaException as error:
                self._serve()
                raise self.error(error, operation) from error
            else:
                self.diagnostics.answered()
                return found

    def repeat(
        self,
        ask: Callable[[C], T],
        operation: Operation,
        *,
        listen: Callable[[C], object],
        passing: Container[str] | None = None,
    ) -> T:
        """What `ask` gives, which blocks for a moment only and is asked again until the time for a call is over.

        listen: has the client report what is wrong with its connection. passing: the errors that asking again may mend;
        None: all. Raises what the error means.
        """
        began = time.monotonic()
        while True:
            try:
                found = ask(self.get())
            except KafkaException as error:
                listen(self.get())
                self.diagnostics.check()
                lasting = passing is not None and error.args[0].name() not in passing
                if lasting or self._is_late(began):
                    raise self.error(error, operation) from error
                time.sleep(_PAUSE_S)
            else:
                self.diagnostics.answered()
                return found

    def error(self, error: KafkaException, operation: Operation) -> StreamForgeError:
        """What an exception of the client means."""
        return self.error_of(error.args[0], operation)

    def error_of(self, error: Any, operation: Operation) -> StreamForgeError:
        """What a `KafkaError` means."""
        if error.fatal():
            self.diagnostics.fatal = True
        return self.diagnostics.explain(operation, error.name(), error.str())

    @property
    def _limit_s(self) -> float:
        return CALL_S if self.diagnostics.connected else FIRST_CONTACT_S

    def _is_late(self, began: float) -> bool:
        return time.monotonic() - began > self._limit_s or self.closing.is_set()

    def _serve(self) -> None:
        poll = getattr(self._client, "poll", None)
        if self.role is Role.ADMIN and poll is not None:
            poll(0)

    def _made(self) -> C:
        # Before the file is read: what is replaced while it is read counts as replaced afterwards.
        stamp = self.connection.ca_stamp()
        connected = self.diagnostics.connected
        self.diagnostics = ClientDiagnostics(self.connection, self.role)
        self.diagnostics.connected = connected
        try:
            client = self._make({**self.connection.config(self.role), **self.diagnostics.config})
        except ConfigError as error:
            if connected:  # it is being replaced at this moment
                raise RetryableError(str(error)) from error
            raise
        except KafkaException as error:
            text = error.args[0].str()
            setting = self.connection.ca_setting if "ssl" in text else "KAFKA_BOOTSTRAP_SERVERS"
            problem = f"the Kafka client refuses its settings ({text}): check {setting}"
            raise (RetryableError(problem) if connected else ConfigError(problem)) from error
        self._stamp = stamp
        return client

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            self._discard(client)
