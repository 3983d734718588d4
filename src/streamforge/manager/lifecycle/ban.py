"""The exchange's ban of this address, folded from the refusals. Pure.

A ban is of no workflow: every question and every loader waits for its end, whoever was refused, and a stop or a retry
of that workflow does not end it. So no epoch counts here: what makes a ban out of date is the time.
"""

from __future__ import annotations

import msgspec

LONGEST_BAN_MS = 3 * 86_400_000
"""The longest ban that the exchange gives. A longer one ends after this time all the same."""

_REASON_SHOWN = 300


class Ban(msgspec.Struct, frozen=True, kw_only=True):
    """until_ms: when the exchange answers again, unix milliseconds; 0: no ban is known. reason: its words."""

    until_ms: int = 0
    reason: str = ""


class Banned(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange has refused somebody. until_ms: the end of the ban; said_ms: when it was refused."""

    until_ms: int
    said_ms: int
    reason: str = ""


def fold_ban(ban: Ban, fact: Banned, now_ms: int) -> Ban:
    """The ban after the fact; the same one if it is over by now, or ends no later."""
    # From the refusal on: it ends, however often it is folded.
    until_ms = min(fact.until_ms, min(fact.said_ms, now_ms) + LONGEST_BAN_MS)
    if until_ms <= max(now_ms, ban.until_ms):
        return ban
    return Ban(until_ms=until_ms, reason=fact.reason[:_REASON_SHOWN])
