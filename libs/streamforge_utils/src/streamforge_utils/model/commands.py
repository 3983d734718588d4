"""The commands on `queue-control`: what a worker is told."""

from __future__ import annotations

from typing import Any

import msgspec

from streamforge_utils.model.decoding import DECODE_ERRORS
from streamforge_utils.model.errors import PermanentError

ANY_QUEUE = "*"


class Command(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One command. The message's key is `queue_id`.

    command: `start` `stop` `ping` `budget`; a worker ignores and logs what it does not know.
    queue_id: the workflow that is meant, or `*` for all. target, telemetry_id: narrow it to a step.
    timestamp: when it was sent, unix seconds; `sent_at` is accepted for it.
    payload: `budget` carries {"weight_per_minute": N}, `stop` to a sink {"upstream_ended": true} once nothing more is
    written to its topic; some workers obey commands of their own with another one.
    """

    command: str
    queue_id: str
    target: str | None = None
    telemetry_id: str | None = None
    symbol: str | None = None
    type: str | None = None
    time_range: str | None = None
    kafka_topic: str | None = None
    collection_name: str | None = None
    image: str | None = None
    attempt: int | None = None
    timestamp: float | None = None
    sent_at: float | None = None
    payload: dict[str, Any] | None = None

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


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Command).decode


def encode_command(command: Command) -> bytes:
    """The command's JSON."""
    return _encode(command)


def decode_command(value: bytes) -> Command:
    """Read a command. Raises PermanentError naming the field; unknown fields are ignored."""
    try:
        return _decode(value)
    except DECODE_ERRORS as error:
        raise PermanentError(f"not a command: {error}") from error
