"""Defects that are planted one at a time, to show that random histories find each of them soon."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import msgspec

from streamforge.cli import exporting
from streamforge.manager import coverage_report, managing, starting
from streamforge.manager.acting import (
    actor,
    ageing,
    counting,
    proving,
    reconciler,
    removing,
    surveying,
    verifying,
)
from streamforge.manager.acting.hearing import Ear
from streamforge.manager.acting.repeats import Repeats
from streamforge.manager.acting.tasks import Tasks
from streamforge.manager.api import views
from streamforge.manager.deciding import facts, rounds
from streamforge.manager.deciding.actions import SayLastWord
from streamforge.manager.deciding.decide import World
from streamforge.manager.keeping import records
from streamforge.manager.keeping.coverage import Coverage, Known
from streamforge.manager.keeping.workflows import Workflows
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
    async def overlooking(*args: Any) -> surveying.Survey:
        found = await surveying.survey(*args)
        return _replace(found, holes=found.holes[:-1])

    with patch.object(counting, "survey", overlooking):
        yield


@defect
def a_hole_is_asked_for_once() -> Iterator[None]:
    with patch.object(proving, "_ROUNDS", 0):
        yield


@defect
def coverage_is_believed_without_counting() -> Iterator[None]:
    async def known(parts: Any, workflow: Any) -> Known:
        found: Known = await parts.coverage.known(workflow.series)
        return found

    async def there(store: Any, known: Known, span: TimeRange, phase_ms: Any) -> list[Segment]:
        return clip(known.segments, span)

    with patch.object(actor, "verified", known), patch.object(proving, "_known_there", there):
        yield


@defect
def coverage_remembers_what_was_removed() -> Iterator[None]:
    async def nothing(self: Coverage, *args: Any, **more: Any) -> None:
        pass

    with patch.object(Coverage, "forget", nothing):
        yield


@defect
def a_removal_takes_more_than_its_range() -> Iterator[None]:
    def wider(self: Any, series: Series, span: TimeRange) -> tuple[str, str]:
        return RecordKind.key_range(self, series, TimeRange(span.start_ms, span.end_ms + 3 * 86_400_000))

    with patch.object(removing, "kind_of", lambda series: type("Wider", (Candles,), {"key_range": wider})()):
        yield


@defect
def a_retry_trusts_the_old_plan() -> Iterator[None]:
    def trusting(workflow: Any, plan: Any) -> Any:
        return _replace(rounds.open_again(workflow, plan=workflow.plan), proof=workflow.proof)

    with patch.object(facts, "open_again", trusting):
        yield


@defect
def a_restarted_manager_forgets_what_was_running() -> Iterator[None]:
    async def nothing(self: Workflows) -> None:
        pass

    with patch.object(Workflows, "load", nothing), patch.object(Workflows, "adopt", nothing):
        yield


@defect
def more_run_than_may() -> Iterator[None]:
    def free(**facts: Any) -> Any:
        return World(**{**facts, "may_start": True})

    with patch.object(reconciler, "World", free):
        yield


@defect
def a_stopped_sink_leaves_the_rest() -> Iterator[None]:
    with patch.object(Supervisor, "_drains", property(lambda self: False)):
        yield


@defect
def nobody_speaks_for_the_dead() -> Iterator[None]:
    say = actor.Actor.act

    async def silent(self: actor.Actor, workflow: Any, action: Any) -> None:
        if not isinstance(action, SayLastWord):
            await say(self, workflow, action)

    with patch.object(actor.Actor, "act", silent):
        yield


@defect
def what_is_said_twice_is_kept_twice() -> Iterator[None]:
    with patch.object(Repeats, "is_one", lambda self, workflow, event: False):
        yield


@defect
def a_finding_of_another_epoch_counts() -> Iterator[None]:
    def late(workflow: Any, fact: Any, *more: Any) -> Any:
        return facts.apply(workflow, _replace(fact, epoch=workflow.epoch), *more)

    async def current(self: Workflows, workflow: Any) -> None:
        pass

    with (
        patch.object(reconciler, "apply", late),
        patch.object(Workflows, "check_epoch", current),
        patch.object(Tasks, "cancel_outdated", lambda self, workflow: None),
    ):
        yield


@defect
def a_verification_marks_nothing() -> Iterator[None]:
    async def verify(parts: Any, *args: Any) -> Any:
        return await verifying.verify(_replace(parts, coverage=_Unmarked(parts.coverage)), *args)

    with patch.object(managing, "verify", verify):
        yield


class _Unmarked:
    """Coverage that what a verification misses is not laid over."""

    def __init__(self, coverage: Coverage) -> None:
        self._coverage = coverage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coverage, name)

    async def lay_over(self, *args: Any) -> None:
        pass


@defect
def a_verification_never_comes_by_itself() -> Iterator[None]:
    async def nothing(self: verifying.Verifying) -> None:
        pass

    with patch.object(verifying.Verifying, "look", nothing):
        yield


@defect
def what_a_verification_misses_is_not_loaded_again() -> Iterator[None]:
    async def nothing(self: verifying.Verifying, series: Any) -> None:
        pass

    with patch.object(verifying.Verifying, "_repair", nothing):
        yield


@defect
def a_removal_does_not_see_who_relies_on_the_data() -> Iterator[None]:
    with patch.object(removing, "relies_on", lambda *args: None):
        yield


@defect
def an_export_with_holes_ends_well() -> Iterator[None]:
    with patch.object(exporting, "_is_complete", lambda selection: True):
        yield


@defect
def an_export_does_not_count() -> Iterator[None]:
    async def unseen(self: Any, *args: Any) -> None:
        pass

    part = exporting.Part

    with (
        patch.object(exporting, "Part", lambda **more: part(**{**more, "records": 0})),
        patch.object(records, "_check", lambda *args: None),
        patch.object(records.Records, "_compare", unseen),
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
    with patch.object(starting, "behind_ms", lambda *more: 0):
        yield


@defect
def a_workflow_speaks_also_of_what_was_not_over() -> Iterator[None]:
    with patch.object(Workflow, "planned_span", property(lambda workflow: workflow.span)):
        yield


@defect
def show_counts_what_was_confirmed_twice() -> Iterator[None]:
    progress_of = views.progress_of

    def doubled(found: Any, **more: Any) -> Any:
        told = progress_of(found, **more)
        return told.model_copy(update={"records_stored": 2 * told.records_stored})

    with patch.object(views, "progress_of", doubled):
        yield


@defect
def retention_does_not_see_who_uses_the_data() -> Iterator[None]:
    with patch.object(ageing.Ageing, "_is_used", lambda self, collection, places: False):
        yield


@defect
def what_was_heard_counts_for_what_was_sent_since() -> Iterator[None]:
    def counted(self: Ear, sent: Mapping[int, tuple[int, int]]) -> int:
        return max(0, sum(end - first for first, end in sent.values()) - len(self.heard))

    with patch.object(Ear, "_left", counted):
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
        patch.object(records, "_check", lambda *args: None),
        patch.object(records.Records, "_compare", unseen),
    ):
        yield
