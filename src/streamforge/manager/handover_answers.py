"""What the API answers of a loader that is handed over to another attempt without a gap."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from streamforge.manager.engine.document import Step
from streamforge.manager.engine.lifecycle.handovers import state_of
from streamforge_utils.model.timeranges import iso_ms

STATES = ("waiting", "starting", "listening", "ready", "taking over", "given up")


class Handover(msgspec.Struct, frozen=True, kw_only=True):
    """Another attempt listens beside the one that writes, and takes its place."""

    state: Annotated[
        str,
        Meta(
            description="`waiting` for the next attempt to be made, `starting`, `listening`, `ready` (what it holds "
            "follows what is written), `taking over` (the other one is being ended, or has just ended), or `given up`: "
            "the attempt that writes goes on.",
            extra_json_schema={"enum": list(STATES)},
        ),
    ]
    reason: str
    asked_at: str
    attempt: Annotated[int | None, Meta(description="The number of the attempt that listens.")] = None
    trouble: Annotated[str | None, Meta(description="Why the attempt that listened last could not take over.")] = None


def handover_answer(step: Step) -> Handover | None:
    """The handover of a step; None: there is none."""
    handover, shadow = step.handover, step.shadow
    if handover is None:
        return None
    return Handover(
        state=state_of(step),
        reason=handover.reason,
        asked_at=iso_ms(handover.asked_ms),
        attempt=None if shadow is None else shadow.number,
        trouble=handover.trouble or None,
    )
