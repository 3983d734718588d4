"""What a client reports beside the answers to its calls: errors of its connections, and log lines."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any

import structlog

from streamforge_utils.adapters.kafka.kafka_connection import Connection, Role
from streamforge_utils.adapters.kafka.kafka_errors import UNREACHABLE, Operation, error_by, error_of, rule_of_text
from streamforge_utils.model.errors import ConfigError, RetryableError, StreamForgeError

GUESSES = 3
"""How often a connection must fail in the same way for a guess to be reported."""

_REPEAT_S = 30.0
_LOGS_KEPT = 200
_NUMBERS = re.compile(r"\d+")
_DEBUG, _WARNING = 10, 30


class ClientDiagnostics:
    """Listens to one client. Any thread.

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
        that who tries again begins from the start.
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
                return  # a refusal tells more than a closed connection
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
