"""The commands on `queue-control`, which workers obey."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from streamforge_utils.model.decoding import decoder

ANY_QUEUE = "*"


class Command(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One command. The message's key is `queue_id`.

    `stop` to a sink carries {"upstream_ended": true} once nothing more is written to its topic.
    """

    command: Annotated[
        str,
        Meta(
            description="start, stop, ping or budget; some targets obey others too, dummy-service simulate-loading and "
            "fail-after; a worker ignores and logs what it does not know",
            examples=["start", "stop", "ping", "budget", "simulate-loading", "fail-after"],
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
