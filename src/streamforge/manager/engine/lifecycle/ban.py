"""The exchange's ban. Pure.

It holds for the whole address: every question and every loader waits for its end, also if another was refused.
Stopping or retrying a workflow does not end it, so the fact of a ban has no epoch: only time makes it out of date.
"""

from __future__ import annotations

import msgspec

from streamforge_utils.model.errors import BannedError

LONGEST_BAN_MS = 3 * 86_400_000
"""The longest ban that the exchange gives. A longer one ends after this time all the same."""

_REASON_SHOWN = 300


class Ban(msgspec.Struct, frozen=True, kw_only=True):
    """until_ms: when the exchange answers again, unix milliseconds; 0: no ban is known. reason: its words."""

    until_ms: int = 0
    reason: str = ""


class Banned(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange has banned this address. until_ms: the end of the ban; said_ms: when the exchange said so."""

    until_ms: int
    said_ms: int
    reason: str = ""


def fold_ban(ban: Ban, fact: Banned, now_ms: int) -> Ban:
    """The ban after the fact; `ban` itself if the one in the fact is over by now, or ends no later."""
    # Counted from the refusal: folding the fact again does not prolong the ban.
    until_ms = min(fact.until_ms, min(fact.said_ms, now_ms) + LONGEST_BAN_MS)
    if until_ms <= max(now_ms, ban.until_ms):
        return ban
    return Ban(until_ms=until_ms, reason=fact.reason[:_REASON_SHOWN])


def ban_told(error: Exception, now_ms: int) -> Banned | None:
    """The ban that the error of a question tells of, if it does."""
    return (
        Banned(until_ms=error.until_ms, said_ms=now_ms, reason=str(error)) if isinstance(error, BannedError) else None
    )
