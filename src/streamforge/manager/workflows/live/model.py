"""What is kept of a live workflow beside its steps: how far it is proven. Pure."""

from __future__ import annotations

import msgspec

from streamforge_utils.model.coverage import Segment
from streamforge_utils.model.timeranges import TimeRange

MOST_HOLES = 20
"""Holes that a ledger names; it counts all."""


class Ledger(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far a live workflow has come. The verdicts are in the coverage of its series; this follows from them.

    from_ms: every record from there on is wanted; None: from the first one on that is stored. stream_ms: from there on
    the stream gives them, and requests where it begins later. history_ms: what is older is loaded by another workflow,
    a *supplement*, which reaches beyond `stream_ms` where ids must meet; None: nothing older is wanted.
    proven_ms: the end of what needs nothing more; None: nothing is proven. proven_id: of the last record before it.
    stored: records that the coverage has, from `from_ms` on, from any source. end_ms: where it was closed.
    compared_ms, asked_ms: when the store, and when the exchange, was last asked. behind: more is stored than was
    compared. holes: the first ones that are open; open_holes: how many there are.
    supplement: the workflow that loads what lacks; supplements: how many were made; not_before_ms: when the next one
    may be; failure: why the last one has not loaded all; failures: how many in a row have not.
    untraded: the symbol's status, as the exchange said last, where it is not traded: then nothing happens.
    entry_id, segment_id: where only its loader tells what lacks: the last of its entries that is settled, and a segment
    before which none is of interest. verified_ms, clean_ms, lost_ms, expired_ms: how much of what is proven was
    verified, was not although nothing speaks against it, is lost, and was removed by retention.
    """

    from_ms: int | None = None
    stream_ms: int
    history_ms: int | None = None
    proven_ms: int | None = None
    proven_id: int | None = None
    stored: int = 0
    end_ms: int | None = None
    compared_ms: int = 0
    asked_ms: int = 0
    behind: bool = False
    holes: tuple[Segment, ...] = ()
    open_holes: int = 0
    supplement: str = ""
    supplements: int = 0
    not_before_ms: int = 0
    failure: str = ""
    failures: int = 0
    untraded: str = ""
    entry_id: int | None = None
    segment_id: int = 0
    verified_ms: int = 0
    clean_ms: int = 0
    lost_ms: int = 0
    expired_ms: int = 0

    @property
    def span(self) -> TimeRange | None:
        """What is proven; once it is closed, all that it speaks of. None: nothing is."""
        end_ms = self.proven_ms if self.end_ms is None else self.end_ms
        if self.from_ms is None or end_ms is None or end_ms <= self.from_ms:
            return None
        return TimeRange(self.from_ms, end_ms)

    @property
    def resume_ms(self) -> int:
        """Where an attempt of the loader begins that finds nothing on the bus."""
        return max(self.stream_ms, self.proven_ms or 0)

    @property
    def has_history(self) -> bool:
        """Whether all that is older than the stream is there, or was given up."""
        # Right before a hole the last millisecond is not proven.
        return self.history_ms is None or bool(self.failures) or (self.proven_ms or 0) + 1 >= self.history_ms
