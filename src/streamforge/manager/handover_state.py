"""What is remembered of a handover: that the attempt of a step is to be replaced by one that listens already."""

from __future__ import annotations

import msgspec


class Handover(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """asked_ms: since when, unix milliseconds; reason: why, for a person. of: the number of the attempt to be replaced.

    runs: what the next one is to run, where that is the reason. failures: attempts in a row that could not take over;
    trouble: why the latest could not. not_before_ms: when the next one may be made. given_up: none is made any more.
    """

    asked_ms: int
    reason: str
    of: int
    runs: str = ""
    failures: int = 0
    trouble: str = ""
    not_before_ms: int = 0
    given_up: bool = False
