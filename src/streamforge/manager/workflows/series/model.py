"""What a workflow that loads a series keeps of its plan and its proof, and what of the series it works on. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from streamforge.manager.engine.document import FormPart, Proof, Workflow
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.kinds.registry import series_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.runtime.life.worker_definition import Source


class SourceChoice(StrEnum):
    """Where a request wants its records from.

    auto: each part from the source that suits it best, and from another one where that fails. archive: from the
    exchange's files alone. rest: from its REST interface alone.
    """

    AUTO = "auto"
    ARCHIVE = "archive"
    REST = "rest"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A range that is to be loaded. reason: why it is, for a person; codes: the same, of `PartCode`s or newer ones.
    instead: another source failed before. first_id: behind the record that is stored right before it, where it has one.
    """

    span: TimeRange
    source: Source = Source.REST
    reason: str = ""
    codes: tuple[str, ...] = ()
    instead: bool = False
    first_id: int | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What the exchange said before anything was started.

    exchange_now_ms: its clock then. until_ms: the end of the last bar of the range that was over then, or of the range
    where that ends earlier; not after the range's start: no bar that opens in it was over. None: all of it was.
    parts: what is to be loaded, sorted, disjoint; each is for the loaders of its source.
    settled: segments with a verdict that needs no loading (closed). phase_ms: a known open time, for `3d`.
    expected: bars of the grid inside `parts`. there: bars of the rest that coverage knows as stored.
    bars: of the range until `until_ms`, but for what is closed. Both are estimates where only files have the records.
    first_ms: when the first bar of the series opens; last_ms: when the last one does, if no more will come.
    floor_ms, floor_id: of the first record that the exchange gives by requests, where there are older ones.
    archived: only the exchange's archive has the symbol.
    """

    exchange_now_ms: int
    until_ms: int | None = None
    parts: tuple[Part, ...] = ()
    settled: tuple[Segment, ...] = ()
    phase_ms: int | None = None
    expected: int = 0
    there: int = 0
    bars: int | None = None
    first_ms: int | None = None
    last_ms: int | None = None
    floor_ms: int | None = None
    floor_id: int | None = None
    archived: bool = False

    @property
    def load(self) -> tuple[str, ...]:
        """The ranges to be loaded, from all sources, as texts."""
        return tuple(str(part.span) for part in self.parts)

    @property
    def ranges(self) -> Mapping[Source, tuple[str, ...]]:
        """The ranges of each source, as texts."""
        sources = {part.source for part in self.parts}
        return {one: tuple(str(part.span) for part in self.parts if part.source is one) for one in sources}


class SeriesProof(Proof, frozen=True, kw_only=True):
    """What the latest comparison of the stored keys with the grid found.

    in_archive: holes that the exchange does not fill, of which files are published that were not read.
    """

    segments: tuple[Segment, ...] = ()
    in_archive: tuple[Part, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether no segment keeps a workflow from being finished."""
        return not any(map(is_open, self.segments))


def is_open(segment: Segment) -> bool:
    """Whether it keeps a workflow from being finished."""
    return segment.verdict in (Verdict.OURS, Verdict.UNKNOWN)


class SeriesPart(FormPart, msgspec.Struct, frozen=True, kw_only=True):
    """What every workflow that loads a series keeps; its form adds more."""

    plan: Plan | None = None
    proof: SeriesProof | None = None

    @property
    def is_prepared(self) -> bool:
        return self.plan is not None

    def planned_span(self, asked: TimeRange) -> TimeRange | None:
        """What of the range `asked` is loaded and proven: up to the end of the last bar that was over when it was
        planned. Before the plan: all of it. None: no bar that opens in it was over.
        """
        if self.plan is None:
            return asked
        until_ms = asked.end_ms if self.plan.until_ms is None else self.plan.until_ms
        return None if until_ms <= asked.start_ms else TimeRange(asked.start_ms, until_ms)

    def claimed_span(self, asked: TimeRange, *, ended: bool) -> TimeRange:
        """What of the series the workflow loads and relies on while it goes on."""
        return asked


def loads_series(workflow: Workflow) -> bool:
    """Whether it loads a series, past or live."""
    return isinstance(workflow.form, SeriesPart)


def loaded_series(workflow: Workflow) -> Series:
    """The series that it loads. Of one that loads none: a name of which nothing is known."""
    if not loads_series(workflow):
        return Series(workflow.symbol, workflow.type)
    return series_of(workflow.symbol, workflow.type)


def planned_span(workflow: Workflow) -> TimeRange | None:
    """What of its span it loads and proves, as far as it is planned; of one that loads no series: its span."""
    part = workflow.form
    return part.planned_span(workflow.span) if isinstance(part, SeriesPart) else workflow.span


def claimed_span(workflow: Workflow) -> TimeRange:
    """What of the series it loads and relies on while it goes on."""
    part = workflow.form
    if not isinstance(part, SeriesPart):
        return workflow.span
    return part.claimed_span(workflow.span, ended=workflow.ended)


def plan_of(workflow: Workflow) -> Plan | None:
    """What of its series is to be loaded; None: it has no plan, or loads no series."""
    return workflow.form.plan if isinstance(workflow.form, SeriesPart) else None


def proof_of(workflow: Workflow) -> SeriesProof | None:
    """What the latest proof of its series found; None: there is none yet, or it loads no series."""
    return workflow.form.proof if isinstance(workflow.form, SeriesPart) else None
