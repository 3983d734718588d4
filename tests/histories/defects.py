"""Defects that are planted one at a time, to show that random histories find each of them soon."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import msgspec

from streamforge.cli.commands import export_command
from streamforge.manager import admission, coverage_report, presentation, workflow_progress, workflow_service
from streamforge.manager.execution import (
    executor,
    proof,
    reconciler,
    record_count,
    removal,
    retention,
    survey,
    verifier,
)
from streamforge.manager.execution.event_consumer import EventConsumer
from streamforge.manager.execution.event_router import DuplicateEvents
from streamforge.manager.execution.tasks import Tasks
from streamforge.manager.lifecycle import facts, rounds
from streamforge.manager.lifecycle.actions import WriteTerminalEvent
from streamforge.manager.lifecycle.decision import Conditions
from streamforge.manager.persistence import record_reader
from streamforge.manager.persistence.coverage_store import CoverageStore, SeriesCoverage
from streamforge.manager.persistence.workflow_store import WorkflowStore
from streamforge.manager.workflow import Workflow
from streamforge_utils import reading
from streamforge_utils.model.coverage import Segment, clip
from streamforge_utils.model.kinds.candles import Candles
from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.runtime.supervisor import Supervisor

_replace = msgspec.structs.replace

Plant = Callable[[], Any]
"""Gives a context in which the defect is there."""

DEFECTS: dict[str, Plant] = {}


def defect(plant: Callable[[], Iterator[None]]) -> Callable[[], Iterator[None]]:
    DEFECTS[plant.__name__] = contextmanager(plant)
    return plant


@defect
def the_proof_overlooks_the_last_hole() -> Iterator[None]:
    async def overlooking(*args: Any) -> survey.Survey:
        found = await survey.survey(*args)
        return _replace(found, holes=found.holes[:-1])

    with patch.object(record_count, "survey", overlooking):
        yield


@defect
def a_hole_is_asked_for_once() -> Iterator[None]:
    with patch.object(proof, "_ROUNDS", 0):
        yield


@defect
def coverage_is_believed_without_counting() -> Iterator[None]:
    async def known(deps: Any, workflow: Any) -> SeriesCoverage:
        found: SeriesCoverage = await deps.coverage.known(workflow.series)
        return found

    async def there(store: Any, known: SeriesCoverage, span: TimeRange, phase_ms: Any) -> list[Segment]:
        return clip(known.segments, span)

    with patch.object(executor, "verified", known), patch.object(proof, "_known_there", there):
        yield


@defect
def coverage_remembers_what_was_removed() -> Iterator[None]:
    async def nothing(self: CoverageStore, *args: Any, **more: Any) -> None:
        pass

    with patch.object(CoverageStore, "forget", nothing):
        yield


@defect
def a_removal_takes_more_than_its_range() -> Iterator[None]:
    def wider(self: Any, series: Series, span: TimeRange) -> tuple[str, str]:
        return RecordKind.key_range(self, series, TimeRange(span.start_ms, span.end_ms + 3 * 86_400_000))

    with patch.object(removal, "kind_of", lambda series: type("Wider", (Candles,), {"key_range": wider})()):
        yield


@defect
def a_retry_trusts_the_old_plan() -> Iterator[None]:
    def trusting(workflow: Any, plan: Any) -> Any:
        return _replace(rounds.open_again(workflow, plan=workflow.plan), proof=workflow.proof)

    with patch.object(facts, "open_again", trusting):
        yield


@defect
def a_restarted_manager_forgets_what_was_running() -> Iterator[None]:
    async def nothing(self: WorkflowStore) -> None:
        pass

    with patch.object(WorkflowStore, "load", nothing), patch.object(WorkflowStore, "adopt", nothing):
        yield


@defect
def more_run_than_may() -> Iterator[None]:
    def free(**facts: Any) -> Any:
        return Conditions(**{**facts, "may_start": True})

    with patch.object(reconciler, "Conditions", free):
        yield


@defect
def a_stopped_sink_leaves_the_rest() -> Iterator[None]:
    with patch.object(Supervisor, "_drains", property(lambda self: False)):
        yield


@defect
def nobody_speaks_for_the_dead() -> Iterator[None]:
    say = executor.Executor.act

    async def silent(self: executor.Executor, workflow: Any, action: Any) -> None:
        if not isinstance(action, WriteTerminalEvent):
            await say(self, workflow, action)

    with patch.object(executor.Executor, "act", silent):
        yield


@defect
def what_is_said_twice_is_kept_twice() -> Iterator[None]:
    with patch.object(DuplicateEvents, "is_one", lambda self, workflow, event: False):
        yield


@defect
def a_finding_of_another_epoch_counts() -> Iterator[None]:
    def late(workflow: Any, fact: Any, *more: Any) -> Any:
        return facts.apply(workflow, _replace(fact, epoch=workflow.epoch), *more)

    async def current(self: WorkflowStore, workflow: Any) -> None:
        pass

    with (
        patch.object(reconciler, "apply", late),
        patch.object(WorkflowStore, "check_epoch", current),
        patch.object(Tasks, "cancel_outdated", lambda self, workflow: None),
    ):
        yield


@defect
def a_verification_marks_nothing() -> Iterator[None]:
    async def verify(deps: Any, *args: Any) -> Any:
        return await verifier.verify(_replace(deps, coverage=_Unmarked(deps.coverage)), *args)

    with patch.object(workflow_service, "verify", verify):
        yield


class _Unmarked:
    """Coverage that what a verification misses is not laid over."""

    def __init__(self, coverage: CoverageStore) -> None:
        self._coverage = coverage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coverage, name)

    async def lay_over(self, *args: Any) -> None:
        pass


@defect
def a_verification_never_comes_by_itself() -> Iterator[None]:
    async def nothing(self: verifier.Verifier) -> None:
        pass

    with patch.object(verifier.Verifier, "look", nothing):
        yield


@defect
def what_a_verification_misses_is_not_loaded_again() -> Iterator[None]:
    async def nothing(self: verifier.Verifier, series: Any) -> None:
        pass

    with patch.object(verifier.Verifier, "_repair", nothing):
        yield


@defect
def a_removal_does_not_see_who_relies_on_the_data() -> Iterator[None]:
    with patch.object(removal, "relies_on", lambda *args: None):
        yield


@defect
def an_export_with_holes_ends_well() -> Iterator[None]:
    with patch.object(export_command, "_is_complete", lambda selection: True):
        yield


@defect
def an_export_does_not_count() -> Iterator[None]:
    async def unseen(self: Any, *args: Any) -> None:
        pass

    part = export_command.Part

    with (
        patch.object(export_command, "Part", lambda **more: part(**{**more, "records": 0})),
        patch.object(record_reader, "_check", lambda *args: None),
        patch.object(record_reader.RecordReader, "_compare", unseen),
    ):
        yield


@defect
def coverage_speaks_only_of_its_first_range() -> Iterator[None]:
    def first(segments: Sequence[Segment]) -> TimeRange | None:
        return segments[0].span if segments else None

    with patch.object(coverage_report, "extent", first):
        yield


@defect
def who_joins_is_told_that_nothing_is_left_out() -> Iterator[None]:
    with patch.object(admission, "behind_ms", lambda *more: 0):
        yield


@defect
def a_workflow_speaks_also_of_what_was_not_over() -> Iterator[None]:
    with patch.object(Workflow, "planned_span", property(lambda workflow: workflow.span)):
        yield


@defect
def show_counts_what_was_confirmed_twice() -> Iterator[None]:
    progress_of = workflow_progress.progress_of

    def doubled(found: Any, **more: Any) -> Any:
        told = progress_of(found, **more)
        return msgspec.structs.replace(told, records_stored=2 * told.records_stored)

    with patch.object(presentation, "progress_of", doubled):
        yield


@defect
def retention_does_not_see_who_uses_the_data() -> Iterator[None]:
    with patch.object(retention.CollectionRetention, "_is_used", lambda self, collection, places: False):
        yield


@defect
def what_was_heard_counts_for_what_was_sent_since() -> Iterator[None]:
    def counted(self: EventConsumer, sent: Mapping[int, tuple[int, int]]) -> int:
        return max(0, sum(end - first for first, end in sent.values()) - len(self.heard))

    with patch.object(EventConsumer, "_left", counted):
        yield


@defect
def a_read_does_not_count() -> Iterator[None]:
    decoded = reading._decoded

    def uncounted(decoder: Any, body: Any, api: Any) -> Any:
        found = decoded(decoder, body, api)
        for segment in getattr(found, "segments", ()):
            segment.records = 0
        return found

    async def unseen(self: Any, *args: Any) -> None:
        pass

    with (
        patch.object(reading, "_decoded", uncounted),
        patch.object(record_reader, "_check", lambda *args: None),
        patch.object(record_reader.RecordReader, "_compare", unseen),
    ):
        yield
