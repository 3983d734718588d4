"""The proof of a workflow's range: counts what is stored of it, and asks the exchange again for each hole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import msgspec

from streamforge.manager.catalogue.archived_symbols import ONLY_ARCHIVED
from streamforge.manager.coverage.record_chain import with_breaks
from streamforge.manager.coverage.record_count import between_stored, counted, gone, survey, with_causes
from streamforge.manager.coverage.store import SeriesCoverage
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.refusals import ExchangeFailed
from streamforge.manager.workflows.history.archive_search import searched
from streamforge.manager.workflows.history.model import History
from streamforge.manager.workflows.series.model import Plan, SeriesProof, loaded_series, planned_span
from streamforge.manager.workflows.series.questions import ask_again
from streamforge_utils.model.completeness.sequence import UNTOLD, floor_cause
from streamforge_utils.model.coverage import (
    DISPUTED,
    SETTLED,
    IdsRead,
    Segment,
    Verdict,
    clip,
    outside,
    overlay,
    touching,
    verdict_of,
    without,
    without_stored,
)
from streamforge_utils.model.daily_collections import Placement
from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.model.kinds.registry import rule_of
from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from streamforge_utils.ports.store import Store
from streamforge_utils.runtime.life.worker_definition import Role

_COUNTS = 5
"""How often the range is counted at most: again whenever holes appear that the exchange was not asked for yet, or
others have changed what is known of the series. The last count holds the series' lock, so other changes wait."""

_TOLD = frozenset({Verdict.EXCHANGE, Verdict.CLOSED})
"""Verdicts that the exchange has given on ranges that are not asked for again."""

_Range = tuple[TimeRange, Sequence[int] | None]
"""A range, and the positions that its records must have; None: they are not known."""


async def prove(deps: Dependencies, workflow: Workflow, plan: Plan, *, ask: bool) -> SeriesProof:
    """Count the whole range that was planned, ask for its holes again, and keep what was found in the coverage.

    Each bar is looked for in the workflow's own collection and in the one that the coverage names. ask: False asks
    nothing: a hole is `unknown`, and coverage is updated only for ranges found stored or gone.
    Raises OutOfDate, before coverage is changed, RetryableError (the store), ExchangeFailed (the exchange or archive).
    """
    series, rule = loaded_series(workflow), rule_of(loaded_series(workflow))
    answers: list[Segment] = []
    ranges: list[_Range] | None = None
    for number in range(1, _COUNTS + 1):
        # Others plan, verify and remove meanwhile; their changes are seen afterwards. The last count locks them out.
        held = (series.id,) if number == _COUNTS else ()
        async with deps.coverage.locks.hold(*held):
            known = await deps.coverage.known(series)
            phase_ms = plan.phase_ms if plan.phase_ms is not None else known.grid_ms
            if ranges is None:
                ranges = await _ranges(deps, workflow, plan, known, phase_ms, ask=ask)
            found = rule.with_answers(await count(deps.store, workflow, plan, known, phase_ms, ranges), answers)
            found = [_below_floor(segment, plan, workflow.part(History).read) for segment in found]
            unasked = [one for one in found if one.verdict is Verdict.UNKNOWN and not one.cause]
            if not (ask and unasked):
                in_archive, found = await searched(deps, workflow, plan, known, found, ask=ask)
                disputes = _disputes(workflow, plan, known, ask=ask)
                found = await with_causes(deps.store, series, found, disputes, phase_ms)
                found = await with_breaks(deps.store, series, found, known.segments, _seams(workflow, plan))
                async with deps.coverage.locks.hold(*(() if held else (series.id,))):
                    if await deps.coverage.known(series) == known:
                        await _learn(deps, workflow, plan, known, found, phase_ms, ask=ask)
                        break
        try:
            for hole in unasked if ask else ():
                answers += await ask_again(deps.exchange, series, hole, phase_ms)
            answers.sort(key=lambda answer: answer.start_ms)
        except (RetryableError, PermanentError) as error:
            raise ExchangeFailed(error) from error
    else:
        raise RetryableError(f"{series.id}: what is stored of it changed {_COUNTS} times while it was being proven")
    # After a range was loaded again: its records are stored twice, and the older ones are removed.
    await deps.removal.finish(series)
    stored = sum(segment.records for segment in found if segment.verdict is Verdict.STORED)
    expected = [None if wanted is None else len(wanted) for _, wanted in ranges]
    return SeriesProof(
        round=workflow.repairs + 1,
        checked_ms=deps.clock.now_ms(),
        expected=sum(one for one in expected if one is not None)
        if None not in expected
        else _planned(plan, found, stored),
        stored=stored,
        segments=tuple(overlay(plan.settled, found)),
        in_archive=in_archive,
    )


def _seams(workflow: Workflow, plan: Plan) -> set[int]:
    """The times at which what was loaded apart meets: parts of the plan, and what attempts have loaded of them."""
    attempts = [one for step in workflow.steps if step.role is Role.LOADER for one in step.attempts]
    spans = [*(part.span for part in plan.parts), *(parse_time_range(text) for one in attempts for text in one.ranges)]
    return {time_ms for span in spans for time_ms in (span.start_ms, span.end_ms)}


def _planned(plan: Plan, found: Sequence[Segment], stored: int) -> int:
    """The total where the exchange was not asked for it: what was planned, as long as a part is not settled."""
    if all(one.verdict in SETTLED for one in found):
        return stored
    return max(stored, plan.expected + plan.there if plan.bars is None else plan.bars)


async def _ranges(
    deps: Dependencies, workflow: Workflow, plan: Plan, known: SeriesCoverage, phase_ms: int | None, *, ask: bool
) -> list[_Range]:
    """The parts of the planned range of which the exchange gives records, each with their positions.

    ask: False asks nothing; positions that the exchange alone knows are None then. Raises ExchangeFailed.
    """
    rule, found = rule_of(loaded_series(workflow)), list[_Range]()
    beyond = [segment.span for segment in plan.settled if segment.verdict in (Verdict.CLOSED, Verdict.UNKNOWN)]
    for span in without(planned_span(workflow), beyond):
        wanted = rule.expected(verdict_of(span, Verdict.UNKNOWN), phase_ms)
        older = span.intersection(TimeRange(0, plan.floor_ms)) if plan.floor_ms else None
        given = span if older is None or older == span else TimeRange(older.end_ms, span.end_ms)
        if wanted is None and ask and older != span:
            try:
                now_ms = await deps.exchange.server_time()
                existing = await rule.existing(deps.exchange, loaded_series(workflow), given, now_ms, phase_ms)
            except (RetryableError, PermanentError) as error:
                raise ExchangeFailed(error) from error
            wanted = _up_to_stored(existing, given, known) if isinstance(existing, range) else existing
        if older is None or not ask:
            found.append((span, wanted))
            continue
        places = _places(workflow, known, [part.span for part in plan.parts], [])
        stored = await between_stored(deps.store, loaded_series(workflow), older, places) or _read_below(
            older, workflow, plan
        )
        if stored:
            stored = _up_to_edges(stored, span, workflow.part(History).read, plan, known)
        elif older == span:
            found.append((span, stored))
            continue
        else:  # the id before the floor, or before what is stored of its millisecond, may be of the range
            first_ms, floor_id = TimeRange(given.start_ms, given.start_ms + 1), plan.floor_id or 0
            same = await between_stored(deps.store, loaded_series(workflow), first_ms, places)
            stored = range(max(0, min([floor_id, *same[:1]]) - 1), floor_id)
        if wanted is not None:
            found.append((span, range(stored.start, wanted[-1] + 1 if wanted else plan.floor_id or stored.stop)))
        else:
            # Before the first record that the exchange gives, ids are consecutive up to that one.
            end_id = plan.floor_id if older.end_ms == plan.floor_ms else None
            found.append((span, range(stored.start, stored.stop if end_id is None else end_id)))
    return found


def _up_to_stored(ids: range, span: TimeRange, known: SeriesCoverage) -> range:
    """The ids of `span`, and those up to what is stored right before and behind it.

    A record of the millisecond before the span, or one that the exchange does not have, is in no time of it.
    """
    there = [one for one in known.segments if one.verdict is Verdict.STORED]
    before = [one.last_id + 1 for one in there if one.end_ms == span.start_ms and one.last_id is not None]
    behind = [one.first_id for one in there if one.start_ms == span.end_ms and one.first_id is not None]
    return range(min([ids.start, *before]), max([ids.stop, *behind])) if before or behind else ids


def _read_below(older: TimeRange, workflow: Workflow, plan: Plan) -> range:
    """The ids before the floor that were read of `older`, as far as that is known."""
    reads = [one for one in workflow.part(History).read if one.start_ms < older.end_ms and older.start_ms < one.end_ms]
    ids = [one.ids for one in reads if one.ids]
    return range(ids[0].start, min(ids[-1].stop, plan.floor_id or ids[-1].stop)) if ids else range(0)


def _up_to_edges(stored: range, span: TimeRange, reads: Sequence[IdsRead], plan: Plan, known: SeriesCoverage) -> range:
    """The ids that are `stored` of `span`, and those up to what was read at its edges or is known as stored beside it.

    Where nothing tells of an edge, the next id may be of the range, too. Nothing has to where what lies beside it is
    `unknown`.
    """
    start_ms, end_ms = span.start_ms, span.end_ms
    empty: list[Segment | IdsRead] = [one for one in reads if not one.ids]  # what lies behind these tells
    empty = sorted([*empty, *(one for one in known.segments if one.verdict in _TOLD)], key=lambda one: one.start_ms)
    for one in empty:
        start_ms = one.end_ms if one.start_ms <= start_ms < one.end_ms else start_ms
    for one in reversed(empty):
        end_ms = one.start_ms if one.start_ms < end_ms <= one.end_ms else end_ms
    there = [one for one in known.segments if one.verdict is Verdict.STORED]
    told: list[Segment | IdsRead] = [*there, *(one for one in reads if one.ids)]
    first = [
        one.first_id if one.start_ms == start_ms else None for one in told if one.start_ms <= start_ms < one.end_ms
    ]
    first += [one.last_id + 1 for one in there if one.end_ms == span.start_ms and one.last_id is not None]
    first += [None for one in plan.settled if one.end_ms == span.start_ms]
    last = [one.last_id if one.end_ms == end_ms else None for one in told if one.start_ms < end_ms <= one.end_ms]
    last += [one.first_id - 1 for one in there if one.start_ms == span.end_ms and one.first_id is not None]
    last += [None for one in plan.settled if one.start_ms == span.end_ms]
    start = min([stored.start, *(one for one in first if one is not None)]) if first else max(0, stored.start - 1)
    return range(start, 1 + max([stored.stop - bool(last), *(one for one in last if one is not None)]))


def _below_floor(segment: Segment, plan: Plan, reads: Sequence[IdsRead]) -> Segment:
    """A hole of which the exchange gives no record any more: silence proves nothing there.

    It is `ours` if a loader of files read it. Otherwise it has that cause.
    """
    if segment.verdict is not Verdict.UNKNOWN or plan.floor_ms is None:
        return segment
    first, last, floor_id = segment.first_id, segment.last_id, plan.floor_id
    if segment.end_ms > plan.floor_ms if last is None or floor_id is None else last >= floor_id:
        return segment
    cause = ONLY_ARCHIVED if floor_id is None else floor_cause(floor_id)
    for one in reads:
        if first in one.ids and last in one.ids:
            return msgspec.structs.replace(segment, verdict=Verdict.OURS)
    if not any(one.start_ms < segment.end_ms and segment.start_ms < one.end_ms for one in reads):
        cause = f"{cause}; {UNTOLD}"
    return msgspec.structs.replace(segment, cause=cause)


def _disputes(workflow: Workflow, plan: Plan, known: SeriesCoverage, *, ask: bool) -> list[Segment]:
    """What was loaded from files that do not meet their checksum: by the workflow, or what it has not loaded before.

    ask: False: it was stopped, so that none of its parts counts as loaded.
    """
    loaded = [verdict_of(part.span, Verdict.UNKNOWN) for part in plan.parts] if ask else []
    whole = planned_span(workflow) or workflow.span
    before = [one for one in touching(known.segments, whole) if one.verdict is Verdict.STORED and one.cause]
    mine = [
        msgspec.structs.replace(verdict_of(one.span, Verdict.STORED), cause=f"{DISPUTED}: {one.reason}")
        for one in workflow.part(History).disputed
    ]
    return overlay(outside(before, loaded), mine)


async def count(
    store: Store,
    workflow: Workflow,
    plan: Plan,
    known: SeriesCoverage,
    phase_ms: int | None,
    ranges: Iterable[_Range],
) -> list[Segment]:
    """The ranges as segments: stored ones with their count, and `unknown` holes. Sorted.

    A part that was not to be loaded may have another verdict: the one that coverage has.
    """
    series, rule = loaded_series(workflow), rule_of(loaded_series(workflow))
    load = [part.span for part in plan.parts]
    rest = without(planned_span(workflow), [*(segment.span for segment in plan.settled), *load])
    places = _places(workflow, known, load, rest)
    found: list[Segment] = []
    for span, wanted in ranges:
        found += await survey(store, series, span, wanted, places, phase_ms)
    told = [one for span in rest for one in clip(touching(known.segments, span), span)]
    told = sorted([*plan.settled, *(one for one in told if one.verdict in _TOLD)], key=lambda segment: segment.start_ms)
    return rule.whole(rule.with_answers(overlay((), found), told), phase_ms)  # whole: a range may end within a bar


def _places(
    workflow: Workflow, known: SeriesCoverage, load: Iterable[TimeRange], rest: Iterable[TimeRange]
) -> list[Segment]:
    """Where the records of the range may lie; of two places with the same record the first counts."""
    own, whole = workflow.placement, planned_span(workflow) or workflow.span
    there = [one for one in touching(known.segments, whole) if one.verdict is Verdict.STORED]
    others = [one for one in there if one.collection is not None and not own.holds(one.collection)]
    if rule_of(loaded_series(workflow)).position_at(whole.start_ms) is not None:
        return [
            *_own(own, load),
            # What it could not have may have been stored by another workflow meanwhile.
            *others,
            # The rest lies where the coverage says, or was repaired by the workflow.
            *_own(own, rest),
        ]
    # Times alone do not tell which records these are: each place counts for the ids that the coverage names, and what
    # none of them has is looked for everywhere. Another copy than the one that the coverage names changes nothing.
    return [
        *_own(own, (span for span in load if touching(others, span))),
        *there,
        *(_stored(whole, name) for name, _ in own.of(whole)),
        *(_stored(whole, name) for name in dict.fromkeys(one.collection for one in others) if name is not None),
    ]


def _own(placement: Placement, spans: Iterable[TimeRange]) -> Iterator[Segment]:
    return (_stored(part, name) for span in spans for name, part in placement.of(span))


def _stored(span: TimeRange, collection: str) -> Segment:
    return Segment(start_ms=span.start_ms, end_ms=span.end_ms, verdict=Verdict.STORED, collection=collection)


async def _learn(
    deps: Dependencies,
    workflow: Workflow,
    plan: Plan,
    known: SeriesCoverage,
    found: Sequence[Segment],
    phase_ms: int | None,
    *,
    ask: bool,
) -> None:
    learnt = list(found)
    if not ask:
        # Without questions nothing new is known of a hole, except that what was stored there is gone.
        ours = [verdict_of(segment.span, Verdict.OURS) for segment in learnt if segment.verdict is Verdict.UNKNOWN]
        if rule_of(loaded_series(workflow)).position_at(workflow.span.start_ms) is None:
            # Behind the last record nothing is known of the time, though the coverage may know that nothing happened.
            span = planned_span(workflow) or workflow.span
            ours = clip(await counted(deps.store, known, span, every_key=True), span)
        learnt = [segment for segment in learnt if segment.verdict is Verdict.STORED]
        learnt = overlay(gone(ours, known.segments), learnt)
    # A range that was planned and then given up has its cause.
    learnt = overlay(without_stored([one for one in plan.settled if one.cause], known.segments), learnt)
    # What coverage calls stored is not loaded again, so a power cut must not take it.
    for name, _ in workflow.placement.of(planned_span(workflow) or workflow.span):
        await deps.store.flush(name)
    condition = partial(deps.workflows.check_epoch, workflow)
    loaded, now_ms = [part.span for part in plan.parts], deps.clock.now_ms()
    await deps.coverage.prove(loaded_series(workflow), learnt, phase_ms, now_ms, loaded=loaded, condition=condition)
