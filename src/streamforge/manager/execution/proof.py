"""The proof of a workflow's range: what is stored of all of it, and each hole asked for again at the exchange."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from msgspec.structs import replace

from streamforge.manager.dependencies import Dependencies
from streamforge.manager.execution.id_ranges import count_ids, ids_at_exchange
from streamforge.manager.execution.planner import ExchangeFailed
from streamforge.manager.execution.record_count import gone, grid_of, stored_in, verdict_of
from streamforge.manager.persistence.coverage_store import SeriesCoverage
from streamforge.manager.workflow import Plan, Proof, Workflow
from streamforge_utils.model.coverage import Segment, Verdict, clip, overlay, touching
from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.model.kinds.registry import rule_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.exchange import Exchange
from streamforge_utils.ports.store import DocumentStore

_ROUNDS = 2
"""How often each question about a hole is put."""

_COUNTS = 5
"""How often the range is counted: again whenever holes appear that the exchange was not asked for yet, or others have
changed what is known of the series; the last time they wait."""


async def prove(deps: Dependencies, workflow: Workflow, plan: Plan, *, ask: bool) -> Proof:
    """Count the whole range that was planned, ask for its holes again, and keep what was found in the coverage.

    Each bar is looked for in the workflow's own collection and in the one that the coverage names. ask: False asks
    nothing: a hole is `unknown`, and the coverage learns only what is stored, and what is not stored any more.
    Raises OutOfDate, before the coverage learns anything, RetryableError (the store), ExchangeFailed (the exchange).
    """
    series, rule = workflow.series, rule_of(workflow.series)
    answers: list[Segment] = []
    ids = await _ids_of(deps, workflow, plan) if ask and rule.by_id else None
    for number in range(1, _COUNTS + 1):
        # Others plan, verify and remove meanwhile; what they change is seen afterwards, but for the last time.
        held = (series.id,) if number == _COUNTS else ()
        async with deps.coverage.locks.hold(*held):
            known = await deps.coverage.known(series)
            phase_ms = plan.phase_ms if plan.phase_ms is not None else known.grid_ms
            found = await count(deps.store, workflow, plan, known, phase_ms, ids)
            if ask:
                found = _answered(found, answers, by_id=rule.by_id)
            unasked = [segment for segment in found if segment.verdict is Verdict.UNKNOWN]
            if not (ask and unasked):
                async with deps.coverage.locks.hold(*(() if held else (series.id,))):
                    if await deps.coverage.known(series) == known:
                        await _learn(deps, workflow, known, found, phase_ms, ask=ask)
                        break
        try:
            for hole in unasked if ask else ():
                answers += await ask_again(deps.exchange, series, hole, phase_ms)
            answers.sort(key=lambda answer: answer.start_ms)
        except (RetryableError, PermanentError) as error:
            raise ExchangeFailed(error) from error
    else:
        raise RetryableError(f"{series.id}: what is stored of it changed {_COUNTS} times while it was being proven")
    # Of a load again: what it has stored a second time is stored once when it ends.
    await deps.removal.finish(series)
    stored = sum(segment.records for segment in found if segment.verdict is Verdict.STORED)
    return Proof(
        round=workflow.repairs + 1,
        checked_ms=deps.clock.now_ms(),
        expected=_expected(workflow, plan, phase_ms) if not rule.by_id else stored if ids is None else len(ids),
        stored=stored,
        segments=tuple(overlay(plan.settled, found)),
    )


async def _ids_of(deps: Dependencies, workflow: Workflow, plan: Plan) -> range:
    """The ids that the exchange has of the planned range. Raises ExchangeFailed."""
    try:
        spans = _not_closed(workflow, plan)
        if not spans:
            return range(0)
        now_ms = await deps.exchange.server_time()
        return await ids_at_exchange(deps.exchange, workflow.series, spans[0], now_ms)
    except (RetryableError, PermanentError) as error:
        raise ExchangeFailed(error) from error


def _not_closed(workflow: Workflow, plan: Plan) -> list[TimeRange]:
    closed = [segment.span for segment in plan.settled if segment.verdict is Verdict.CLOSED]
    return _without(workflow.planned_span, closed)


def _expected(workflow: Workflow, plan: Plan, phase_ms: int | None) -> int:
    grid = grid_of(workflow.series)
    return sum(len(grid.times(one.start_ms, one.end_ms, phase_ms)) for one in _not_closed(workflow, plan))


async def count(
    store: DocumentStore,
    workflow: Workflow,
    plan: Plan,
    known: SeriesCoverage,
    phase_ms: int | None,
    ids: range | None = None,
) -> list[Segment]:
    """What the plan has not settled of the bars that open in the workflow's range: stored and counted, or `unknown`
    where it is not. Sorted.

    What was not to be loaded may have another verdict, as the coverage has it. ids: of records that have some, those
    of the range, where they are known.
    """
    if rule_of(workflow.series).by_id:
        return await _count_ids(store, workflow, plan, known, ids)

    def own(span: TimeRange) -> list[Segment]:
        return [
            Segment(start_ms=span.start_ms, end_ms=span.end_ms, verdict=Verdict.STORED, collection=workflow.collection)
        ]

    load = [part.span for part in plan.parts]
    others = [s for s in known.segments if s.verdict is Verdict.STORED and s.collection != workflow.collection]
    found: list[Segment] = []
    for span in load:  # what it could not have may have been stored by another workflow meanwhile
        found += await _found_in(store, workflow.series, span, (own(span), others), phase_ms)
    for span in _without(workflow.planned_span, [*(segment.span for segment in plan.settled), *load]):
        # It lies where the coverage says, or was repaired by the workflow.
        found += await _found_in(store, workflow.series, span, (known.segments, own(span)), phase_ms)
    return grid_of(workflow.series).whole(_joined(found), phase_ms)


async def _count_ids(
    store: DocumentStore, workflow: Workflow, plan: Plan, known: SeriesCoverage, ids: range | None
) -> list[Segment]:
    found: list[Segment] = []
    for span in _not_closed(workflow, plan):
        held = [s.collection for s in touching(known.segments, span) if s.verdict is Verdict.STORED and s.collection]
        found += await count_ids(store, workflow.series, dict.fromkeys([workflow.collection, *held]), span, ids)
    return found


async def _found_in(
    store: DocumentStore,
    series: Series,
    span: TimeRange,
    places: Iterable[Sequence[Segment]],
    phase_ms: int | None,
) -> list[Segment]:
    """What is stored in `span`: in the first of the places, and each hole filled by what the next one has."""
    found = [verdict_of(span, Verdict.UNKNOWN)]
    for place in places:
        filled: list[Segment] = []
        for segment in found:
            if segment.verdict is Verdict.UNKNOWN:
                filled += await _counted(store, series, clip(place, segment.span), phase_ms)
            else:
                filled.append(segment)
        found = filled
    return found


async def _counted(
    store: DocumentStore, series: Series, segments: Iterable[Segment], phase_ms: int | None
) -> list[Segment]:
    """Each stored segment counted. What the exchange does not have stays; anything else is `unknown`."""
    found: list[Segment] = []
    for segment in segments:
        if segment.verdict is Verdict.STORED and segment.collection is not None:
            found += await stored_in(store, segment.collection, series, segment.span, phase_ms)
        elif segment.verdict in (Verdict.EXCHANGE, Verdict.CLOSED):
            found.append(segment)
        else:
            found.append(verdict_of(segment.span, Verdict.UNKNOWN))
    return found


def _answered(found: Sequence[Segment], answers: Sequence[Segment], *, by_id: bool) -> list[Segment]:
    """`found` with the exchange's answers in the holes; by_id: each answer speaks of a whole hole."""
    if by_id:
        verdicts = {(a.start_ms, a.end_ms, a.first_id, a.last_id): a.verdict for a in answers}
        return [
            replace(s, verdict=verdicts.get((s.start_ms, s.end_ms, s.first_id, s.last_id), s.verdict))
            if s.verdict is Verdict.UNKNOWN
            else s
            for s in found
        ]
    answered: list[Segment] = []
    for segment in found:
        if segment.verdict is Verdict.UNKNOWN:
            answered += clip(answers, segment.span)
        else:
            answered.append(segment)
    return _joined(answered)


async def _learn(
    deps: Dependencies,
    workflow: Workflow,
    known: SeriesCoverage,
    found: Sequence[Segment],
    phase_ms: int | None,
    *,
    ask: bool,
) -> None:
    learnt = list(found)
    if not ask:
        # What was not asked for again is not known better than before, but for what was stored and is gone.
        ours = [verdict_of(segment.span, Verdict.OURS) for segment in learnt if segment.verdict is Verdict.UNKNOWN]
        learnt = [segment for segment in learnt if segment.verdict is Verdict.STORED]
        learnt = overlay(learnt, gone(ours, known.segments))
    # What coverage calls stored is not loaded again: a power cut must not take it any more.
    await deps.store.flush(workflow.collection)
    condition = partial(deps.workflows.check_epoch, workflow)
    await deps.coverage.prove(workflow.series, learnt, phase_ms, deps.clock.now_ms(), condition=condition)


async def ask_again(exchange: Exchange, series: Series, hole: Segment, phase_ms: int | None) -> list[Segment]:
    """The exchange's answers about a hole, asked for by requests cut differently from each other, each up to twice.

    The records that any answer had are `ours`; those that no answer had are `exchange`. A single empty or short answer
    proves nothing: exchanges give such. Raises RetryableError.
    """
    rule, found = rule_of(series), set[int]()
    for wanted, questions in rule.questions(hole, phase_ms):
        for question in [*questions] * _ROUNDS:
            try:
                page = await exchange.page(series, question)
            except PermanentError as error:
                raise PermanentError(f"the hole {hole.span} could not be asked for: {error}") from error
            found.update(page.positions)
            if found.issuperset(wanted):
                break
    return rule.answered(hole, found, phase_ms)


def _without(span: TimeRange | None, parts: Iterable[TimeRange]) -> list[TimeRange]:
    """What of `span` lies in none of `parts`."""
    left: list[TimeRange] = []
    if span is None:
        return left
    cursor_ms = span.start_ms
    for part in sorted(parts):
        if cursor_ms < min(part.start_ms, span.end_ms):
            left.append(TimeRange(cursor_ms, min(part.start_ms, span.end_ms)))
        cursor_ms = max(cursor_ms, part.end_ms)
    if cursor_ms < span.end_ms:
        left.append(TimeRange(cursor_ms, span.end_ms))
    return left


def _joined(segments: Iterable[Segment]) -> list[Segment]:
    return overlay((), list(segments))
