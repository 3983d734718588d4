"""Defects that are planted one at a time, to show that random histories find each of them soon."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

import msgspec

from streamforge.cli.export_selection import Selection
from streamforge.cli.stored_records import Reader
from streamforge.manager import admission, presentation, workflow_progress, workflow_service
from streamforge.manager.coverage import record_count
from streamforge.manager.coverage import service as coverage_report
from streamforge.manager.coverage.record_count import key_range
from streamforge.manager.coverage.store import CoverageStore, SeriesCoverage
from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.execution import executor, reconciler
from streamforge.manager.engine.execution.dispatcher import Dispatcher
from streamforge.manager.engine.execution.event_consumer import DuplicateEvents, EventConsumer
from streamforge.manager.engine.lifecycle import facts, rounds
from streamforge.manager.engine.lifecycle.actions import WriteTerminalEvent
from streamforge.manager.engine.lifecycle.conditions import Conditions
from streamforge.manager.engine.persistence.workflow_store import WorkflowStore
from streamforge.manager.execution import verifier
from streamforge.manager.exports import records as record_reader
from streamforge.manager.retention import driver as retention
from streamforge.manager.retention import service as removal
from streamforge.manager.workflows.history import form as history_form
from streamforge.manager.workflows.history import proof
from streamforge.manager.workflows.series import questions
from streamforge_utils import reading
from streamforge_utils.model.coverage import Segment, Verdict, clip, overlay
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.runtime.life.supervisor import Supervisor

_replace = msgspec.structs.replace


class Defect(NamedTuple):
    """first: the case from which on it is looked for, so that rare ones do not take long."""

    first: int
    plant: Callable[[], AbstractContextManager[object]]


async def nothing(*_: Any, **__: Any) -> None:
    """In the place of a call that is not made."""


@contextmanager
def all_of(*patches: AbstractContextManager[object]) -> Iterator[None]:
    with ExitStack() as stack:
        for one in patches:
            stack.enter_context(one)
        yield


def _overlooking() -> Callable[..., Any]:
    holes_in = record_count.holes_in

    async def overlooking(*args: Any) -> list[tuple[int, int]]:
        return (await holes_in(*args))[:-1]

    return overlooking


async def _known(deps: Any, workflow: Any) -> SeriesCoverage:
    found: SeriesCoverage = await deps.coverage.known(workflow.series)
    return found


def _believing() -> Callable[..., Any]:
    survey = record_count.survey

    async def believed(store: Any, series: Any, span: TimeRange, wanted: Any, places: Any, phase_ms: Any) -> Any:
        found = await survey(store, series, span, wanted, places, phase_ms)
        known = [one for place in places if place.records for one in clip([place], span)]
        return overlay(found, [one for one in known if one.verdict is Verdict.STORED])

    return believed


async def _wider(store: Any, collection: str, series: Series, span: TimeRange) -> tuple[str, str]:
    return await key_range(store, collection, series, TimeRange(span.start_ms, span.end_ms + 3 * 86_400_000))


def _trusting(workflow: Any, *, prepared: bool) -> Any:
    return rounds.open_again(workflow, prepared=True).with_form(proof=workflow.form.proof)


def _silent() -> Callable[..., Any]:
    act = executor.Executor.act

    async def silent(self: executor.Executor, workflow: Any, action: Any) -> None:
        if not isinstance(action, WriteTerminalEvent):
            await act(self, workflow, action)

    return silent


def _late(workflow: Any, fact: Any, *more: Any) -> Any:
    return facts.apply(workflow, _replace(fact, epoch=workflow.epoch), *more)


class _Unmarked:
    """Coverage that what a verification misses is not laid over."""

    def __init__(self, coverage: CoverageStore) -> None:
        self._coverage = coverage
        self.lay_over = nothing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coverage, name)


async def _verify_unmarked(deps: Any, *args: Any) -> Any:
    return await verifier.verify(_replace(deps, coverage=_Unmarked(deps.coverage)), *args)


def _uncounted_exports() -> AbstractContextManager[object]:
    read = Reader.segment

    async def uncounted(reader: Any, known: Any, segment: Any, *args: Any) -> None:
        await read(reader, known, _replace(segment, records=0), *args)

    return all_of(
        patch.object(Reader, "segment", uncounted),
        patch.object(record_reader, "_require", lambda *args: None),
        patch.object(record_reader.RecordReader, "_compare", nothing),
    )


def _first_range(segments: Sequence[Segment]) -> TimeRange | None:
    return segments[0].span if segments else None


def _doubled() -> Callable[..., Any]:
    progress_of = workflow_progress.progress_of

    def doubled(found: Any, **more: Any) -> Any:
        progress = progress_of(found, **more)
        return _replace(progress, records_stored=2 * progress.records_stored)

    return doubled


def _number_left(self: EventConsumer, sent: Mapping[int, tuple[int, int]]) -> int:
    return max(0, sum(end - first for first, end in sent.values()) - len(self.received))


def _uncounted_reads() -> AbstractContextManager[object]:
    decoded = reading._decoded

    def uncounted(decoder: Any, body: Any, api: Any) -> Any:
        found = decoded(decoder, body, api)
        for segment in getattr(found, "segments", ()):
            segment.records = 0
        return found

    return all_of(
        patch.object(reading, "_decoded", uncounted),
        patch.object(record_reader, "_require", lambda *args: None),
        patch.object(record_reader.RecordReader, "_compare", nothing),
    )


DEFECTS = {
    "the proof overlooks the last hole": Defect(0, lambda: patch.object(record_count, "holes_in", _overlooking())),
    "no hole is asked for": Defect(60, lambda: patch.object(questions, "_ROUNDS", 0)),
    "coverage is believed without counting": Defect(
        0,
        lambda: all_of(patch.object(history_form, "verified", _known), patch.object(proof, "survey", _believing())),
    ),
    "coverage remembers what was removed": Defect(10, lambda: patch.object(CoverageStore, "forget", nothing)),
    "a removal takes more than its range": Defect(0, lambda: patch.object(removal, "key_range", _wider)),
    "a retry trusts the old plan": Defect(25, lambda: patch.object(facts, "open_again", _trusting)),
    "a restarted manager forgets what was running": Defect(
        30, lambda: all_of(patch.object(WorkflowStore, "load", nothing), patch.object(WorkflowStore, "adopt", nothing))
    ),
    "more workflows run than may": Defect(
        0,
        lambda: patch.object(reconciler, "Conditions", lambda **facts: Conditions(**{**facts, "may_start": True})),
    ),
    "a stopped sink leaves the rest": Defect(
        100, lambda: patch.object(Supervisor, "_drains", property(lambda self: False))
    ),
    "no terminal event is written for a dead worker": Defect(
        0, lambda: patch.object(executor.Executor, "act", _silent())
    ),
    "a repeated event is kept": Defect(
        50, lambda: patch.object(DuplicateEvents, "is_one", lambda self, workflow, event: False)
    ),
    "a finding of another epoch counts": Defect(
        110,
        lambda: all_of(
            patch.object(reconciler, "apply", _late),
            patch.object(WorkflowStore, "check_epoch", nothing),
            patch.object(Dispatcher, "cancel_outdated", lambda self, workflow: None),
        ),
    ),
    "a verification marks nothing": Defect(35, lambda: patch.object(workflow_service, "verify", _verify_unmarked)),
    "a verification never comes by itself": Defect(0, lambda: patch.object(verifier.Verifier, "look", nothing)),
    "what a verification misses is not loaded again": Defect(
        0, lambda: patch.object(verifier.Verifier, "_repair", nothing)
    ),
    "a removal does not see who relies on the data": Defect(
        0, lambda: patch.object(removal, "relies_on", lambda *args: None)
    ),
    "an export with holes ends well": Defect(0, lambda: patch.object(Selection, "complete", True)),
    "an export does not count": Defect(0, _uncounted_exports),
    "coverage covers only its first range": Defect(0, lambda: patch.object(coverage_report, "extent", _first_range)),
    "a client that joins is not told that a part is left out": Defect(
        240, lambda: patch.object(admission, "behind_ms", lambda *more: 0)
    ),
    "a workflow's range includes what was not over": Defect(
        0, lambda: patch.object(Workflow, "planned_span", property(lambda workflow: workflow.span))
    ),
    "show counts what was confirmed twice": Defect(0, lambda: patch.object(presentation, "progress_of", _doubled())),
    "retention does not see who uses the data": Defect(
        230,
        lambda: patch.object(retention.CollectionRetention, "_is_used", lambda self, collection, places: False),
    ),
    "received events count for what was sent since": Defect(
        930, lambda: patch.object(EventConsumer, "_left", _number_left)
    ),
    "a read does not count": Defect(0, _uncounted_reads),
}
