"""The events on `queue-events`: what a worker says."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from streamforge_utils.model.decoding import DECODE_ERRORS
from streamforge_utils.model.errors import PermanentError

TERMINAL_EVENTS = frozenset({"finished", "interrupted", "error"})
"""The events after which a worker says nothing more; it sends exactly one of them."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event. The message's key is `queue_id`.

    event, status: the same word; a `pong` has no status.
    producer: telemetry id of the step. attempt: which attempt of the step speaks.
    records_written: records confirmed so far by this attempt. finished: true on every last word.
    timestamp: unix seconds. extra: progress and what else the event has to tell (see `Progress`).
    ping_ts, ponged_at: of a pong, unix seconds.
    """

    event: Literal["started", "loading", "finished", "interrupted", "error", "pong"]
    status: Literal["started", "loading", "finished", "interrupted", "error"] | None = None
    queue_id: str
    producer: str
    target: str
    symbol: str = ""
    type: str = ""
    attempt: int = 1
    message: str = ""
    records_written: int = 0
    finished: bool = False
    timestamp: float = 0.0
    error_message: str | None = None
    extra: dict[str, Any] | None = None
    ping_ts: float | None = None
    ponged_at: float | None = None


class Progress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far a worker is; travels in the `extra` of its events.

    records: confirmed by this attempt. position: the newest open time or offset reached (ms for loaders, offset for
    sinks). share: done, 0 to 1, where an end is known. rate: records a second of late. lag: records waiting.
    unchanged, stale, refused: how the store answered beside `stored`. waiting: what the worker waits for, and
    waiting_until: unix seconds at which it will go on; a worker that says so is not stuck.
    banned_until_ms: the exchange refuses this address until then.
    """

    records: int = 0
    position: int | None = None
    share: float | None = None
    rate: float = 0.0
    lag: int | None = None
    unchanged: int = 0
    stale: int = 0
    refused: int = 0
    waiting: str | None = None
    waiting_until: float | None = None
    banned_until_ms: int | None = None
    exit_code: int | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Event).decode


def encode_event(event: Event) -> bytes:
    """The event's JSON: what is None is left out, everything else is there, also where it is the default."""
    return _encode({name: value for name, value in msgspec.to_builtins(event).items() if value is not None})


def decode_event(value: bytes) -> Event:
    """Read an event. Raises PermanentError naming the field; unknown fields are ignored."""
    try:
        return _decode(value)
    except DECODE_ERRORS as error:
        raise PermanentError(f"not an event: {error}") from error


def progress_of(event: Event) -> Progress:
    """The progress that an event carries; an empty one where it carries none that can be read."""
    try:
        return msgspec.convert(event.extra or {}, Progress)
    except msgspec.ValidationError:
        return Progress(records=event.records_written)
