"""Reads `queue-control`: what is meant for this worker is obeyed, the rest is counted and passed over.

An unknown command is also logged as a warning, at most once a minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from math import inf

import msgspec

from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.messages import Command, decode_command
from streamforge_utils.ports.bus import Consumer, Received
from streamforge_utils.runtime.live.handover import Handover
from streamforge_utils.runtime.telemetry.instruments import Instruments
from streamforge_utils.runtime.telemetry.logs import LogThrottle
from streamforge_utils.runtime.telemetry.telemetry import PATIENCE_S, Identity

CLOCK_SKEW_S = 5.0
"""Commands sent up to this long before the launch are read: clocks of two machines differ."""

_KNOWN = ("start", "stop", "ping", "budget", "takeover")
_NOT_UNDERSTOOD = ("unknown", "invalid")
_SHOWN = 200
_WAITING_COMMANDS = 100

OwnCommands = asyncio.Queue[msgspec.Struct]
"""The payloads of the commands that one kind of worker obeys beside the common ones, as they wait for its work."""


class CommandListener:
    """Reads commands and calls what obeys them. Nothing that arrives ends it but a bus that does not answer.

    stop: called with whether the loaders have ended, and how many seconds a sink may take for the rest, as the command
    has it. own: the types of the payloads of the worker's own commands, by command; `own_commands` has what was read of
    these. handover: notified of a handover.
    """

    def __init__(
        self,
        consumer: Consumer,
        identity: Identity,
        instruments: Instruments,
        *,
        stop: Callable[[bool, float], None],
        ping: Callable[[float], None],
        budget: Callable[[int], None],
        connects: Callable[[int], None],
        own: Mapping[str, type[msgspec.Struct]],
        handover: Handover,
    ) -> None:
        self._consumer = consumer
        self._identity = identity
        self._stop = stop
        self._ping = ping
        self._budget = budget
        self._connects = connects
        self._own = own
        self._handover = handover
        self.own_commands = OwnCommands(_WAITING_COMMANDS)
        self._instruments = instruments
        self._throttle = LogThrottle(instruments.clock)
        self.read_at = instruments.clock.monotonic()
        """When the last command for this worker was read, by the clock's `monotonic`."""

    async def listen(self) -> None:
        """Obey until cancelled. Raises RetryableError once patience with the bus is spent."""
        while True:
            received = await self._instruments.retry(
                "commands", lambda: self._consumer.poll(100, 5.0), patience_s=PATIENCE_S
            )
            for message in received:
                self.obey(message)

    def obey(self, message: Received) -> None:
        """Obey one message, if it is a command for this worker."""
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
        self.read_at = self._instruments.clock.monotonic()
        self._count(command.command)
        if command.command == "ping":
            self._ping(message.timestamp_ms / 1000 if command.sent is None else command.sent)
        elif command.command == "takeover":
            self._handover.take_over()
        elif command.command == "stop":
            payload = command.payload or {}
            self._handover.handed_over |= payload.get("handover") is True
            self._stop(payload.get("upstream_ended") is True, _seconds_of(payload.get("drain_seconds")))
        elif command.command == "budget":
            weight, connects = (_count_of(command, name) for name in ("weight_per_minute", "connects"))
            if connects is not None:
                self._connects(connects)
            if weight is not None:
                self._budget(weight)
            elif connects is None:
                told = (command.payload or {}).get("weight_per_minute")
                self._count("invalid", error=f"budget {told!r:.80} is no weight", offset=message.offset)
        elif command.command in self._own:
            try:
                self.own_commands.put_nowait(msgspec.convert(command.payload or {}, self._own[command.command]))
            except msgspec.ValidationError as error:
                self._count("invalid", error=f"payload of {command.command}: {error}"[:_SHOWN], offset=message.offset)
            except asyncio.QueueFull:
                text = f"{command.command}: {_WAITING_COMMANDS} commands wait for the work already"
                self._count("invalid", error=text, offset=message.offset)

    def _count(self, kind: str, **details: object) -> None:
        self._instruments.metrics.count("commands", command=kind)
        if kind not in _NOT_UNDERSTOOD:
            self._instruments.log.debug("command", kind=kind, **details)
        elif (more := self._throttle.admit(kind)) is not None:
            self._instruments.log.warning("a command was ignored", kind=kind, not_logged_before=more, **details)


def _count_of(command: Command, name: str) -> int | None:
    """A number of the payload; None: it is none, or less than 0."""
    value = (command.payload or {}).get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _seconds_of(value: object) -> float:
    """What a payload says; infinite where that is no number of seconds."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return float(value)
    return inf
