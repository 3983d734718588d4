"""What a live workflow keeps in its document: how far it is proven. Pure."""

from __future__ import annotations

import msgspec

from streamforge.manager.engine.document import Workflow
from streamforge.manager.workflows.series.model import SeriesPart
from streamforge_utils.model.coverage import Segment
from streamforge_utils.model.timeranges import TimeRange

END_OF_TIME_MS = 253_402_300_800_000  # the end of the year 9999
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


class Live(SeriesPart, frozen=True, kw_only=True, tag="live"):
    """The part of the document of a live workflow; `plan` is that of its stream, `proof` that of its end.

    ledger: how far it is proven; None before its first plan.
    """

    ledger: Ledger | None = None

    def planned_span(self, asked: TimeRange) -> TimeRange | None:
        """What is proven by now; before the plan what was asked for."""
        return super().planned_span(asked) if self.ledger is None else self.ledger.span

    def claimed_span(self, asked: TimeRange, *, ended: bool) -> TimeRange:
        """All that is to come, until it has ended."""
        return asked if ended else TimeRange(asked.start_ms, END_OF_TIME_MS)


def is_live(workflow: Workflow) -> bool:
    """Whether it loads a series as it happens."""
    return isinstance(workflow.form, Live)


def ledger_of(workflow: Workflow) -> Ledger | None:
    """How far a live workflow is proven; None: it is not planned, or not live."""
    return workflow.form.ledger if isinstance(workflow.form, Live) else None


def passed_ms(workflow: Workflow) -> int:
    """Up to where all that a live workflow has loaded is proven, and behind it; 0: nothing is, or it is not live."""
    ledger = ledger_of(workflow)
    return 0 if ledger is None else ledger.proven_ms or 0
