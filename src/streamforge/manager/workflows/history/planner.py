"""Before anything is started: what of the range asked for exists at the exchange, and what of it is still lacking.

What narrows the range is asked twice, the second time by a request that is cut differently: one wrong answer must
not turn data into "before the listing".
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import msgspec
import structlog

from streamforge.manager.catalogue.archived_symbols import ARCHIVED, ONLY_ARCHIVED, bounds_of_files
from streamforge.manager.coverage.record_count import counted, gone
from streamforge.manager.coverage.store import SeriesCoverage
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.lifecycle.rounds import joined
from streamforge.manager.workflows.history.model import History
from streamforge.manager.workflows.history.source_plan import Sources
from streamforge.manager.workflows.series.model import Plan, loaded_series
from streamforge_utils.model.coverage import (
    FROM_FILES_ALONE,
    Segment,
    Verdict,
    awaits_file,
    clip,
    lacking,
    outside,
    overlay,
    verdict_of,
)
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.kinds.registry import kind_of, rule_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange, format_ms
from streamforge_utils.ports.archive import Archive
from streamforge_utils.ports.exchange import Exchange

_replace = msgspec.structs.replace
_log = structlog.get_logger(__name__)


async def verified(deps: Dependencies, workflow: Workflow) -> SeriesCoverage:
    """The coverage of the workflow's series, with what it says of the workflow's range counted again.

    Records that were there may have been removed or lost since, by hand or by a power cut: the coverage then says so,
    and they are loaded again. From now on nothing that the workflow relies on is removed.
    Raises OutOfDate or RetryableError.
    """
    series = loaded_series(workflow)
    async with deps.coverage.locks.hold(series.id, workflow.collection):
        known = await deps.coverage.known(series)
        found = await counted(deps.store, known, workflow.span, every_key=False)
        lacking = gone(found, known.segments)
        if not lacking:
            return known
        _log.warning("records that the coverage names are not there", queue_id=workflow.queue_id, ranges=len(lacking))
        await deps.coverage.lay_over(series, lacking, condition=partial(deps.workflows.check_epoch, workflow))
        return await deps.coverage.known(series)


def stored_plan(workflow: Workflow, known: SeriesCoverage, now_ms: int) -> Plan | None:
    """The plan of a range of which all is stored: the exchange need not be asked. None: it has to be.

    known: just counted. Where the calendar does not fix the grid, the exchange alone knows which records there are.
    """
    rule, span = rule_of(loaded_series(workflow)), workflow.span
    if workflow.part(History).again or workflow.endless or not rule.is_fixed(None):
        return None
    start_ms, end_ms = rule.ceil(span.start_ms), rule.ceil(span.end_ms)
    if start_ms >= end_ms:
        return None
    whole = TimeRange(start_ms, end_ms)
    bars = rule.expected(verdict_of(whole, Verdict.UNKNOWN), None)
    if bars is None or any(one.verdict is not Verdict.STORED for one in clip(known.segments, whole)):
        return None
    there, first_ms, last_ms = len(bars), known.first_ms, known.last_ms
    return Plan(
        exchange_now_ms=now_ms, until_ms=span.end_ms, bars=there, there=there, first_ms=first_ms, last_ms=last_ms
    )


async def prepare(exchange: Exchange, series: Series, span: TimeRange, known: tuple[Segment, ...], **how: Any) -> Plan:
    """The plan alone, as `planned` makes it."""
    return (await planned(exchange, series, span, known, **how))[0]


async def planned(
    exchange: Exchange,
    series: Series,
    span: TimeRange,
    known: tuple[Segment, ...],
    *,
    exchange_now_ms: int,
    again: bool,
    archive: Archive | None = None,
    alone: bool = False,
    without: str = "",
    begins_ms: int | None = None,
) -> tuple[Plan, Sources | None]:
    """What there is to load of `span`, given what is `known` of the series. What is not over yet is no part of it.

    The second is how its parts were found; None: there is nothing to load. archive: parts may come from its files, and
    with `alone` from nowhere else. without: why it is not asked. begins_ms: when the series begins, as an earlier plan
    has found: a later beginning is not believed, and that there is no record at all is an error.
    Raises PermanentError (the exchange does not know the symbol) or RetryableError.
    """
    rule = rule_of(series)
    info = await exchange.symbol_info(series.symbol)
    now_ms = exchange_now_ms
    if archive is not None and info.status == ARCHIVED:
        bounds = await bounds_of_files(exchange, archive, series, now_ms)
    else:
        bounds = await rule.bounds(exchange, series, now_ms, trading=info.status == "TRADING")
    if bounds is None and begins_ms is not None:
        raise RetryableError(
            f"{series.id}: the exchange says that it has no record, though it had some from {format_ms(begins_ms)} on; "
            "that is not believed: see in its documentation or at its web site whether it still gives them, and retry"
        )
    if bounds is None:
        # What opens from now on may still come; where `3d` bars open is not known before the first of them.
        until_ms = min(span.end_ms, rule.over_ms(now_ms))
        closed = [_segment(span.start_ms, until_ms, Verdict.CLOSED)] if until_ms > span.start_ms else []
        closed = rule.whole(closed, None)
        until_ms = until_ms if closed else min(until_ms, span.start_ms)
        return Plan(exchange_now_ms=now_ms, until_ms=until_ms, bars=0, settled=tuple(closed)), None
    first_ms, last_ms = bounds.first_ms, bounds.last_ms
    if begins_ms is not None and not bounds.floor:
        first_ms = min(first_ms, begins_ms)  # what the exchange does not give any more, the proof asks for
    phase_ms = first_ms if not rule.is_fixed(None) else None
    settled: list[Segment] = []
    older: list[TimeRange] = []
    # What is known of a series is known of whole bars: here of those that open in the range and are over.
    until_ms = min(span.end_ms, rule.over_ms(now_ms, phase_ms))
    start_ms = rule.ceil(span.start_ms, phase_ms)
    end_ms = max(start_ms, rule.ceil(until_ms, phase_ms))
    whole = TimeRange(start_ms, end_ms) if start_ms < end_ms else None
    if whole is None:
        until_ms = min(until_ms, span.start_ms)
    if start_ms < (since_ms := min(end_ms, bounds.since_ms)):
        settled.append(_segment(start_ms, since_ms, Verdict.CLOSED))
        start_ms = since_ms
    if start_ms < min(first_ms, end_ms):
        before = TimeRange(start_ms, min(end_ms, first_ms))
        if bounds.floor:
            older = [before] if again and archive is not None else lacking(known, before)
        else:
            settled.append(_segment(before.start_ms, before.end_ms, Verdict.CLOSED))
        start_ms = before.end_ms
    if last_ms is not None and end_ms > (after_last_ms := rule.next(last_ms)):
        settled.append(_segment(max(start_ms, after_last_ms), end_ms, Verdict.CLOSED))
        end_ms = max(start_ms, after_last_ms)
    settled = [segment for segment in settled if segment.end_ms > segment.start_ms]
    plan = Plan(
        exchange_now_ms=now_ms,
        until_ms=until_ms,
        bars=0,
        settled=tuple(settled),
        phase_ms=phase_ms,
        first_ms=first_ms,
        last_ms=last_ms,
        floor_ms=first_ms if bounds.floor else None,
        floor_id=bounds.floor_id,
        archived=info.status == ARCHIVED,
    )
    wanted = TimeRange(start_ms, end_ms) if start_ms < end_ms else None
    if whole is None or (wanted is None and not older):
        return plan, None
    known = tuple(rule.whole(overlay(known, settled), phase_ms))
    ranges, bars = list[TimeRange](), 0
    if wanted is not None:
        # Whether there is a file by now is asked with the holes that requests leave.
        done = known if archive is None or alone else [one for one in known if not awaits_file(one, now_ms)]
        ranges = joined([wanted] if again else lacking(done, wanted))
        bars = len(await rule.existing(exchange, series, wanted, now_ms, phase_ms))

    def records(part: TimeRange) -> int | None:
        found = rule.expected(verdict_of(part, Verdict.UNKNOWN), phase_ms)
        if found is not None or wanted is None or part.start_ms < first_ms:
            return None if found is None else len(found)
        return round(bars * (part.end_ms - part.start_ms) / (wanted.end_ms - wanted.start_ms))

    sources = Sources(
        kind=kind_of(series),
        now_ms=now_ms,
        records=records,
        floor_ms=first_ms if bounds.floor else 0,
        floor=bounds.floor,
        alone=ONLY_ARCHIVED if plan.archived else FROM_FILES_ALONE if alone else "",
        again=again,
    )
    divided = await sources.divide(archive, series, [*older, *ranges], without)
    load = [_segment(part.span.start_ms, part.span.end_ms, Verdict.UNKNOWN) for part in divided.parts]
    lost = [one for one in divided.unknown if one.start_ms >= first_ms]
    stored = [segment for segment in clip(known, whole) if segment.verdict is Verdict.STORED]
    counts = rule.counted(outside(stored, [*load, *divided.unknown]), phase_ms)
    there = sum(segment.records for segment in counts)
    old = sum(segment.records for segment in counts if segment.end_ms <= first_ms) + divided.older
    each = [rule.expected(one, phase_ms) for one in load]
    expected = sum(len(one) for one in each if one is not None) if None not in each else max(0, bars + old - there)
    bars -= sum(records(one.span) or 0 for one in lost)
    plan = _replace(
        plan,
        parts=tuple(_replace(part, first_id=_behind(known, part.span.start_ms)) for part in divided.parts),
        settled=tuple(sorted([*settled, *divided.unknown], key=lambda one: one.start_ms)),
        expected=expected,
        bars=bars + old,
        there=there,
    )
    return plan, _replace(sources, files=divided.files)


def _behind(known: Iterable[Segment], start_ms: int) -> int | None:
    """The id behind the last record that is stored right before a time; None: it is not known."""
    last_id = next((one.last_id for one in known if one.verdict is Verdict.STORED and one.end_ms == start_ms), None)
    return None if last_id is None else last_id + 1


def _segment(start_ms: int, end_ms: int, verdict: Verdict) -> Segment:
    return Segment(start_ms=start_ms, end_ms=end_ms, verdict=verdict)
