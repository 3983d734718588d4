"""The data of the events of `GET /feed` that are not documents themselves; as `answers.py`."""

from __future__ import annotations

from typing import Annotated

import msgspec

from streamforge.manager.answers import QUEUE_ID, meaning, one_of


class FeedOpened(msgspec.Struct, frozen=True, kw_only=True):
    """Event `open`, the first one: what changes from now on, or since the event that was named, follows."""

    resumed: Annotated[bool, meaning("Whether it goes on behind the event that was named.")]


class FeedReset(msgspec.Struct, frozen=True, kw_only=True):
    """Event `reset`: changes are missing in between. Read all again that is shown; nothing is missing behind it."""

    reason: str


class FeedRemoved(msgspec.Struct, frozen=True, kw_only=True):
    """Event `removed`: what is shown of it is to go."""

    kind: Annotated[str, one_of(("workflow", "batch", "schedule"))]
    id: Annotated[str, meaning("Its queue_id, batch_id or name.", QUEUE_ID)]
    reason: Annotated[
        str,
        one_of(("deleted", "filtered", "unreadable")),
        meaning("`filtered`: it has a status that is not wanted. `unreadable`: it is there, and cannot be shown."),
    ]


class FeedEnd(msgspec.Struct, frozen=True, kw_only=True):
    """Event `end`, the last one: why the server ends the stream."""

    reason: Annotated[str, one_of(("replaced", "slow", "closing"))]
    detail: str
