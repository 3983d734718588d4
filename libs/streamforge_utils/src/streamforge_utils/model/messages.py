"""The messages of manager and workers: commands, events, end-of-stream markers; and how untrusted JSON is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from streamforge_utils.model.errors import PermanentError

T = TypeVar("T")

DECODE_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""The last two for texts that are no UTF-8, and for JSON nested deeper than Python can follow."""


def decoder(kind: type[T], name: str) -> Callable[[bytes], T]:
    """What reads JSON as a `kind`, and raises PermanentError naming the field. name: with its article."""
    decode = msgspec.json.Decoder(kind).decode

    def read(value: bytes) -> T:
        try:
            return decode(value)
        except DECODE_ERRORS as error:
            raise PermanentError(f"not {name}: {error}") from error

    return read


ANY_QUEUE = "*"


class Command(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One command. The message's key is `queue_id`.

    `stop` to a sink carries {"upstream_ended": true} once nothing more is written to its topic; to a loader of streams
    {"handover": true} if another attempt goes on where it ends: then it marks no end of its stream. `takeover` to that
    attempt says that no other one writes any more. `budget` to a loader of streams carries {"connects": N}, too: how
    many connections it may try to make in five minutes.
    """

    command: Annotated[
        str,
        Meta(
            description="start, stop, ping or budget; some targets obey others too, dummy-service simulate-loading and "
            "fail-after; a worker ignores and logs what it does not know",
            examples=["start", "stop", "ping", "budget", "takeover", "simulate-loading", "fail-after"],
        ),
    ]
    queue_id: Annotated[str, Meta(description="the workflow that is meant, or * for all; also the message's key")]
    target: Annotated[str | None, Meta(description="narrows the command to a kind of step")] = None
    telemetry_id: Annotated[str | None, Meta(description="narrows the command to one step")] = None
    symbol: str | None = None
    type: str | None = None
    time_range: Annotated[str | None, Meta(description="START[:END], half-open, UTC")] = None
    kafka_topic: Annotated[str | None, Meta(description="the data topic")] = None
    collection_name: str | None = None
    image: str | None = None
    attempt: Annotated[int | None, Meta(description="which attempt of the step, from 1")] = None
    timestamp: Annotated[float | None, Meta(description="when it was sent, unix seconds")] = None
    sent_at: Annotated[float | None, Meta(description="when it was sent, unix seconds; accepted for timestamp")] = None
    payload: Annotated[
        dict[str, Any] | None,
        Meta(
            description='budget carries {"weight_per_minute": N}; commands of single targets see the schemas '
            "`payload-…`"
        ),
    ] = None

    @property
    def sent(self) -> float | None:
        """When it was sent, unix seconds, under whichever name."""
        return self.sent_at if self.sent_at is not None else self.timestamp

    def meant_for(self, queue_id: str, target: str, telemetry_id: str) -> bool:
        """Whether the worker so named must obey."""
        return (
            self.queue_id in (queue_id, ANY_QUEUE)
            and self.target in (None, target)
            and self.telemetry_id in (None, telemetry_id)
        )


decode_command = decoder(Command, "a command")
"""Reads a command. Raises PermanentError naming the field; unknown fields are ignored."""


def encode_command(command: Command) -> bytes:
    """The command's JSON."""
    return msgspec.json.encode(command)


TERMINAL_EVENTS = frozenset({"finished", "interrupted", "error"})
"""The events after which a worker publishes no other; it sends exactly one of them."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event. The message's key is `queue_id`."""

    event: Annotated[
        Literal["started", "loading", "finished", "interrupted", "error", "pong"],
        Meta(description="what happened; exactly one of finished, interrupted, error is a step's terminal event"),
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
    finished: Annotated[bool, Meta(description="true on every terminal event")] = False
    timestamp: Annotated[float, Meta(description="when it was sent, unix seconds")] = 0.0
    error_message: str | None = None
    extra: Annotated[
        dict[str, Any] | None,
        Meta(description="progress (see the schema `progress`) and what else the event has to tell"),
    ] = None
    ping_ts: Annotated[float | None, Meta(description="of a pong: the ping's time, unix seconds")] = None
    ponged_at: Annotated[float | None, Meta(description="of a pong: when it was answered, unix seconds")] = None


class Live(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a loader of streams tells beside its progress; counts are those of its attempt."""

    last_id: Annotated[int | None, Meta(description="of the last record written, where records have ids")] = None
    last_time: Annotated[int | None, Meta(description="when it happened, unix milliseconds, UTC")] = None
    frame_age_s: Annotated[
        float | None, Meta(description="seconds since the exchange sent anything; null: it has sent nothing yet")
    ] = None
    reconnects: Annotated[int, Meta(description="connections made after one had failed")] = 0
    failure: Annotated[str, Meta(description="why the newest connection ended, or could not be made")] = ""
    rotations: Annotated[int, Meta(description="connections replaced while they were good")] = 0
    backfilled: Annotated[int, Meta(description="records asked for by requests, as the streams lacked them")] = 0
    duplicates: Annotated[int, Meta(description="records that came more than once")] = 0
    refused: Annotated[int, Meta(description="messages of which no record can be made")] = 0
    refusal: Annotated[str, Meta(description="what is wrong with the newest of these")] = ""
    dropped: Annotated[int, Meta(description="records for which there was no room; trades are asked for later")] = 0
    skipped: Annotated[int, Meta(description="ids or bars that the exchange does not have")] = 0
    corrected: Annotated[int, Meta(description="bars that the exchange changed after they were written")] = 0
    late: Annotated[int, Meta(description="bars that were asked for as no message said that they are closed")] = 0
    trust: Annotated[str, Meta(description="of the order book now: verified, unverifiable or suspect")] = ""
    why: Annotated[str, Meta(description="why the order book is not verified")] = ""
    verified: Annotated[int, Meta(description="diffs behind which the order book is verified")] = 0
    unverifiable: Annotated[int, Meta(description="diffs of which nothing can be said, nor against them")] = 0
    suspect: Annotated[int, Meta(description="diffs behind something that was lost or wrong")] = 0
    agreed: Annotated[int, Meta(description="best prices of the exchange that were those of the order book")] = 0
    agreed_age_s: Annotated[
        float | None, Meta(description="seconds since such prices came last; null: none came, or it is no order book")
    ] = None
    unchecked_s: Annotated[
        float, Meta(description="seconds in which the best levels changed again and again, and no such prices came")
    ] = 0.0
    snapshots: Annotated[int, Meta(description="snapshots of the order book that the exchange gave")] = 0
    held_bytes: Annotated[int, Meta(description="records that wait in memory and on disk, about")] = 0
    shadow: Annotated[
        str,
        Meta(
            description="of an attempt that writes nothing yet, as another one does: waiting, or ready if what it "
            "holds follows what that one has written; empty: it writes"
        ),
    ] = ""
    leaving: Annotated[bool, Meta(description="its process is ended from outside, and goes on for a while")] = False
    clock_offset_ms: Annotated[int, Meta(description="by how much the exchange's clock is ahead of the worker's")] = 0


class Progress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far a worker is; travels in the `extra` of its events. A worker that waits for something is not stuck."""

    records: Annotated[int, Meta(description="confirmed by this attempt", extra_json_schema={"minimum": 0})] = 0
    position: Annotated[
        int | None,
        Meta(description="newest open time reached (unix milliseconds, UTC) of a loader, newest offset of a sink"),
    ] = None
    last_id: Annotated[
        int | None, Meta(description="id of the newest record of a loader over REST, of a kind that has ids")
    ] = None
    share: Annotated[float | None, Meta(description="done, 0 to 1, where an end is known")] = None
    rate: Annotated[float, Meta(description="records a second of late")] = 0.0
    lag: Annotated[int | None, Meta(description="records that wait to be stored")] = None
    held: Annotated[int, Meta(description="records of an open segment, which are stored once it is closed")] = 0
    unchanged: Annotated[int, Meta(description="records whose content was stored already")] = 0
    stale: Annotated[int, Meta(description="records older than what is stored")] = 0
    refused: Annotated[int, Meta(description="records that went to the dead letters")] = 0
    waiting: Annotated[str | None, Meta(description="what the worker waits for")] = None
    waiting_until: Annotated[float | None, Meta(description="when it will go on, unix seconds")] = None
    banned_until_ms: Annotated[
        int | None, Meta(description="the exchange refuses this address until then, unix milliseconds, UTC")
    ] = None
    weight_per_minute: Annotated[
        int | None, Meta(description="request weight that it may use at the exchange", extra_json_schema={"minimum": 0})
    ] = None
    live: Annotated[Live | None, Meta(description="of a loader of streams")] = None
    exit_code: Annotated[int | None, Meta(description="with a terminal event: what the process exits with")] = None


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


EOS_KEY = b"__eos__"


class EndOfStream(msgspec.Struct, frozen=True, kw_only=True):
    """`producer` (telemetry id) wrote `records` records in its `attempt` and writes no more.

    reason: `finished` if it reached its end, `interrupted` if it was stopped.
    """

    producer: str
    attempt: int
    records: int
    reason: Literal["finished", "interrupted"]


class _Marker(msgspec.Struct, frozen=True):
    end_of_stream: EndOfStream


_decode = decoder(_Marker, "an end-of-stream marker")


def encode_marker(marker: EndOfStream) -> bytes:
    """The marker's JSON; its key is `EOS_KEY`."""
    return msgspec.json.encode(_Marker(marker))


def decode_marker(value: bytes) -> EndOfStream:
    """Read a marker. Raises PermanentError naming the field."""
    return _decode(value).end_of_stream
