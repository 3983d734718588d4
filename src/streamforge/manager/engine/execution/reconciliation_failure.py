"""A workflow that the loop cannot reconcile."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from streamforge_utils.model.messages import Event

MOST_LEFT = 1000
"""Events kept for a workflow that cannot be reconciled."""


class Failing(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow that could not be reconciled `tries` times in a row. events: those that are still to be folded."""

    tries: int
    until: float
    events: Sequence[Event]
