"""Hearing `queue-control`: what is meant for this worker is obeyed, the rest is counted and passed over.

What nobody understands is also logged as a warning, now and then: somebody sends it without effect.
"""

from __future__ import annotations

from collections.abc import Callable

from streamforge_utils.model.commands import Command, decode_command
from streamforge_utils.model.errors import InvalidInput, PermanentError
from streamforge_utils.ports.bus import Consumer, Received
from streamforge_utils.runtime.command_queue import CommandQueue
from streamforge_utils.runtime.instruments import Instruments
from streamforge_utils.runtime.log_throttle import LogThrottle
from streamforge_utils.runtime.telemetry import PATIENCE_S, Identity

CLOCK_SKEW_S = 5.0
"""Commands sent up to this long before the launch are read: clocks of two machines differ."""

_KNOWN = ("start", "stop", "ping", "budget")
_NOT_UNDERSTOOD = ("unknown", "invalid")
_SHOWN = 200


class CommandListener:
    """Reads commands and calls what obeys them. Nothing that arrives ends it but a bus that does not answer.

    stop: called with whether the command says that the loaders have ended.
    """

    def __init__(
        self,
        consumer: Consumer,
        identity: Identity,
        instruments: Instruments,
        *,
        stop: Callable[[bool], None],
        ping: Callable[[float], None],
        budget: Callable[[int], None],
        own: CommandQueue,
    ) -> None:
        self._consumer = consumer
        self._identity = identity
        self._stop = stop
        self._ping = ping
        self._budget = budget
        self._own = own
        self._instruments = instruments
        self._throttle = LogThrottle(instruments.clock)
        self.heard_at = instruments.clock.monotonic()
        """When the last command for this worker was heard, by the clock's `monotonic`."""

    async def listen(self) -> None:
        """Obey until cancelled. Raises RetryableError once patience with the bus is spent."""
        while True:
            received = await self._instruments.retry(
                "commands", lambda: self._consumer.poll(100, 5.0), patience_s=PATIENCE_S
            )
            for message in received:
                self.obey(message)

    def obey(self, message: Received) -> None:
        """Do what one message says, if it is a command for this worker."""
        try:
            command = decode_command(message.value)
        except PermanentError as error:
            self._count("invalid", error=str(error)[:_SHOWN], offset=message.offset)
            return
        identity = self._identity
        meant = command.meant_for(identity.queue_id, identity.target, identity.producer)
        if not meant or command.attempt not in (None, identity.attempt):
            self._count("foreign", command=command.command[:_SHOWN], meant_for=command.queue_id[:_SHOWN])
        elif command.command not in _KNOWN and command.command not in self._own:
            self._count("unknown", command=command.command[:_SHOWN])
        else:
            self._do(command, message)

    def _do(self, command: Command, message: Received) -> None:
        self.heard_at = self._instruments.clock.monotonic()
        self._count(command.command)
        if command.command == "ping":
            self._ping(message.timestamp_ms / 1000 if command.sent is None else command.sent)
        elif command.command == "stop":
            self._stop((command.payload or {}).get("upstream_ended") is True)
        elif command.command == "budget":
            weight = (command.payload or {}).get("weight_per_minute")
            if isinstance(weight, int) and not isinstance(weight, bool) and weight >= 0:
                self._budget(weight)
            else:
                self._count("invalid", error=f"budget {weight!r:.80} is no weight", offset=message.offset)
        elif command.command in self._own:
            try:
                self._own.put(command.command, command.payload)
            except InvalidInput as error:
                self._count("invalid", error=str(error)[:_SHOWN], offset=message.offset)

    def _count(self, kind: str, **details: object) -> None:
        self._instruments.metrics.count("commands", command=kind)
        if kind not in _NOT_UNDERSTOOD:
            self._instruments.log.debug("command", kind=kind, **details)
        elif (more := self._throttle.admit(kind)) is not None:
            self._instruments.log.warning("a command was ignored", kind=kind, not_logged_before=more, **details)
