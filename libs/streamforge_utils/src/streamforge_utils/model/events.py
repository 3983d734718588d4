"""The events on `queue-events`, which workers publish."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from streamforge_utils.model.decoding import decoder

TERMINAL_EVENTS = frozenset({"finished", "interrupted", "error"})
"""The events after which a worker publishes no other; it sends exactly one of them."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event. The message's key is `queue_id`."""

    event: Annotated[
        Literal["started", "loading", "finished", "interrupted", "error", "pong"],
        Meta(description="what happened; exactly one of finished, interrupted, error is a step's last word"),
    ]
    status: Annotated[
        Literal["started", "loading", "finished", "interrupted", "error"] | None,
        Meta(description="the same word as event; a pong has none"),
    ] = None
    queue_id: Annotated[str, Meta(description="the workflow; also the message's key")]
    producer: Annotated[str, Meta(description="telemetry id of the step that speaks")]
    target: str
    symbol: str = ""
    type: str = ""
    attempt: Annotated[
        int, Meta(description="which attempt of the step speaks, from 1", extra_json_schema={"minimum": 1})
    ] = 1
    message: str = ""
    records_written: Annotated[
        int, Meta(description="records confirmed so far by this attempt", extra_json_schema={"minimum": 0})
    ] = 0
    finished: Annotated[bool, Meta(description="true on every last word")] = False
    timestamp: Annotated[float, Meta(description="when it was sent, unix seconds")] = 0.0
    error_message: str | None = None
    extra: Annotated[
        dict[str, Any] | None,
        Meta(description="progress (see the schema `progress`) and what else the event has to tell"),
    ] = None
    ping_ts: Annotated[float | None, Meta(description="of a pong: the ping's time, unix seconds")] = None
    ponged_at: Annotated[float | None, Meta(description="of a pong: when it was answered, unix seconds")] = None


class Progress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far a worker is; travels in the `extra` of its events. A worker that waits for something is not stuck."""

    records: Annotated[int, Meta(description="confirmed by this attempt", extra_json_schema={"minimum": 0})] = 0
    position: Annotated[
        int | None,
        Meta(description="newest open time reached (unix milliseconds, UTC) of a loader, newest offset of a sink"),
    ] = None
    share: Annotated[float | None, Meta(description="done, 0 to 1, where an end is known")] = None
    rate: Annotated[float, Meta(description="records a second of late")] = 0.0
    lag: Annotated[int | None, Meta(description="records that wait to be stored")] = None
    unchanged: Annotated[int, Meta(description="records whose content was stored already")] = 0
    stale: Annotated[int, Meta(description="records older than what is stored")] = 0
    refused: Annotated[int, Meta(description="records that went to the dead letters")] = 0
    waiting: Annotated[str | None, Meta(description="what the worker waits for")] = None
    waiting_until: Annotated[float | None, Meta(description="when it will go on, unix seconds")] = None
    banned_until_ms: Annotated[
        int | None, Meta(description="the exchange refuses this address until then, unix milliseconds, UTC")
    ] = None
    exit_code: Annotated[int | None, Meta(description="with a last word: what the process exits with")] = None


decode_event = decoder(Event, "an event")
"""Reads an event. Raises PermanentError naming the field; unknown fields are ignored."""


def encode_event(event: Event) -> bytes:
    """The event's JSON: what is None is left out, everything else is there, also where it is the default."""
    return msgspec.json.encode({name: value for name, value in msgspec.to_builtins(event).items() if value is not None})


def progress_of(event: Event) -> Progress:
    """The progress that an event carries; an empty one where it carries none that can be read."""
    try:
        return msgspec.convert(event.extra or {}, Progress)
    except msgspec.ValidationError:
        return Progress(records=event.records_written)
