"""A client of librdkafka: made again after a fatal error or a change of the CA file, and what it reports by itself.

Beside the answers to its calls it reports errors of its connections, and log lines.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Container
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

import structlog
from confluent_kafka import KafkaException

from streamforge_utils.adapters.kafka.kafka_connection import Connection, Role
from streamforge_utils.adapters.kafka.kafka_errors import UNREACHABLE, Operation, error_by, error_of, rule_of_text
from streamforge_utils.model.errors import ConfigError, RetryableError, StreamForgeError

FIRST_CONTACT_S = 4.5
"""How long a client that never reached a broker tries to."""

CALL_S = 15.0
_SLICE_S = 0.1
_PAUSE_S = 0.05

GUESSES = 3
"""How often a connection must fail in the same way for a guess to be reported."""

_REPEAT_S = 30.0
_LOGS_KEPT = 200
_NUMBERS = re.compile(r"\d+")
_DEBUG, _WARNING = 10, 30

C = TypeVar("C")
T = TypeVar("T")


class Handle(Generic[C]):
    """Holds a client, made on first use. Its calls to the broker block: make them in a lane, not in the event loop.

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


class ClientDiagnostics:
    """What one client reports. Any thread.

    down: the brokers were lost and no call was answered since. fatal: the client is of no use any more.
    """

    def __init__(self, connection: Connection, role: Role, *, log: Callable[..., None] | None = None) -> None:
        self._connection = connection
        self._role = role
        self._log = log or _to_structlog
        self._lock = threading.Lock()
        self._problem: StreamForgeError | None = None
        self._guessed = False
        self._guesses: dict[str, int] = {}
        self._logged: dict[str, float] = {}
        self.connected = False
        self.down = False
        self.fatal = False
        self.untrusted = False

    @property
    def config(self) -> dict[str, Any]:
        """The client settings that report to this object."""
        return {"error_cb": self.on_error, "logger": self}

    def answered(self) -> None:
        """A call was answered: what went wrong before is over."""
        if self.connected and not self.down and self._problem is None:
            return
        with self._lock:
            self.connected = True
            self.down = False
            self.untrusted = False
            self._problem = None
            self._guessed = False
            self._guesses.clear()

    def check(self) -> None:
        """Raises ConfigError if no connection will ever come about, and RetryableError if that is a guess: once, so
        that another try begins from the start.
        """
        problem = self._problem
        if self._guessed and problem is not None:
            with self._lock:
                self._problem, self._guessed = None, False
                self._guesses.clear()
            raise problem
        if isinstance(problem, ConfigError) and not self.untrusted_for_now:
            raise problem

    @property
    def untrusted_for_now(self) -> bool:
        """The broker's certificate is not trusted, but one was: the CA file will follow."""
        return self.untrusted and self.connected

    def explain(self, operation: Operation, name: str, detail: str) -> StreamForgeError:
        """The error of a call that failed with librdkafka's error `name`."""
        return error_of(name, detail, operation, self._connection, self._role, because=self._because())

    def on_error(self, error: Any) -> None:
        """librdkafka's error callback."""
        name, text = error.name(), error.str()
        if error.fatal():
            self.fatal = True
        if name == "_ALL_BROKERS_DOWN":
            self.down = True
            self._note_text(text)
        elif name in ("TOPIC_AUTHORIZATION_FAILED", "GROUP_AUTHORIZATION_FAILED"):
            return  # the call reports it, with the topic
        else:
            self._note_text(text)
            # Before the first contact the call that waits for it fails, with a better message.
            self._write(_WARNING if self.connected else _DEBUG, text, name)

    def log(self, level: int, line: str, *values: object) -> None:
        """librdkafka's log lines; as a `logging.Logger` takes them."""
        text = line % values if values else line
        if "FAIL [" in text:
            self._note_text(text.rpartition("]: ")[2])
            level = min(level, _DEBUG)  # `on_error` logs what matters of it
        self._write(level, text, "")

    def log_error(self, name: str, text: str) -> None:
        """Log an error that came another way; one of a kind now and then."""
        self._write(_WARNING, text, name)

    def _because(self) -> StreamForgeError | None:
        problem = self._problem
        if problem is not None and self.untrusted_for_now:
            return RetryableError(f"{problem}; it was trusted before: waiting for the CA file to be renewed")
        return problem

    def _note_text(self, text: str) -> None:
        rule = rule_of_text(text)
        if rule is None:
            return
        with self._lock:
            if not rule.certain:
                if self.connected:
                    return
                times = self._guesses[rule.text] = self._guesses.get(rule.text, 0) + 1
                if times < GUESSES:
                    return
            if "certificate" in rule.text:
                self.untrusted = True
            if isinstance(self._problem, ConfigError) and rule.error is not ConfigError:
                return  # a refusal explains more than a closed connection
            if self._problem is not None and rule is UNREACHABLE:
                return
            self._guessed = not rule.certain
            self._problem = error_by(rule, Operation(what="connect"), self._connection, self._role, text)

    def _write(self, level: int, text: str, name: str) -> None:
        now = time.monotonic()
        shape = _NUMBERS.sub("#", text)
        with self._lock:
            if now - self._logged.get(shape, -_REPEAT_S) < _REPEAT_S:
                return
            if len(self._logged) >= _LOGS_KEPT:
                self._logged.clear()
            self._logged[shape] = now
        self._log(level, "kafka client", client=str(self._role), said=text[:500], error=name)


def _to_structlog(level: int, event: str, **fields: object) -> None:
    if structlog.is_configured():
        structlog.get_logger().log(level, event, **fields)
