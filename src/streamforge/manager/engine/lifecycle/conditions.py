"""What a decision about a workflow depends on beside its document and the time."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """Facts that the manager gathers for a decision.

    may_start: a slot is free. ahead: a workflow that loads a part of the same range, and whose end is waited for: what
    it has stored by then is not loaded again, and what it has not is.
    banned_until_ms: until then nobody asks the exchange, and no loader starts (ban_reason: why).
    listening_since_ms: since when every event was received soon after it was sent; silence before that was not the
    workers'. exchange_waits: what the manager's questions to the exchange wait for. launching: targets of this workflow
    that may be being launched right now. unseen: why what is known of the jobs may be out of date; empty if it is not.
    continuous: how many workflows go on for months, and stopping: how many of them end at the same time. abandoned: the
    workflow without which it has no use goes on no longer. may_connect: a connection to the exchange's streams may be
    made now. runs: by target what a job would run now, as `Attempt` has it. may_hand_over: its loader may be handed
    over for its image, beside those of others. may_begin: so many processes of workers; None: nothing bounds them.
    """

    may_start: bool = True
    ahead: str | None = None
    banned_until_ms: int = 0
    ban_reason: str = ""
    listening_since_ms: int = 0
    exchange_waits: str | None = None
    launching: frozenset[str] = frozenset()
    unseen: str = ""
    continuous: int = 0
    stopping: int = 0
    abandoned: bool = False
    may_connect: bool = True
    runs: Mapping[str, str] = {}
    may_hand_over: bool = True
    may_begin: int | None = None
