"""Verification: what coverage calls stored is counted in the store; what is gone is marked, and loaded if wanted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import structlog
from msgspec.structs import replace

from streamforge.manager.books.verification import verify_segments
from streamforge.manager.coverage.record_count import counted
from streamforge.manager.coverage.store import SeriesCoverage
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Status, Workflow
from streamforge.manager.retention.maintenance import tried_again_later
from streamforge.manager.retention.service import relies_on
from streamforge.manager.use_cases import StartRequest, Verification
from streamforge.manager.workflows.history.model import history_of
from streamforge.manager.workflows.series.requests import check, workflow_of
from streamforge_utils.model.coverage import Segment, Verdict, touching
from streamforge_utils.model.kinds.registry import rule_of, type_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange

LOOK_EVERY_S = 600.0
_PIECE_RECORDS = 500_000
"""Records counted at a time: between two pieces others may use the series."""

_REPAIRS_A_SERIES = 10
"""Workflows that one look starts for a series at most."""

_WHOLE = frozenset({Verdict.STORED, Verdict.EXCHANGE, Verdict.CLOSED, Verdict.OURS})
"""What a range that is loaded again may hold: nothing that nobody has asked for."""

_log = structlog.get_logger(__name__)


async def verify(deps: Dependencies, series: Series, span: TimeRange | None = None) -> Verification:
    """Compare every key of the series (inside `span`) with what coverage calls stored; mark what is gone as `ours`.

    Where keys do not tell what lacks, all that is stored is read again, and what is gone is `lost` until it is back.

    Raises RetryableError.
    """
    look = _compare if rule_of(series).is_counted else verify_segments
    found = await look(deps, series, span)
    if span is None:
        await deps.coverage.verified(series, deps.clock.now_ms())
    missing = sum(gap.records for gap in found.gaps)
    deps.observer.count("verified_records_total", found.counted + missing)
    deps.observer.count("missing_records_total", missing)
    if found.gaps:
        _log.warning(
            "records that the coverage names are gone", series=series.id, records=missing, ranges=len(found.gaps)
        )
    return found


async def _compare(deps: Dependencies, series: Series, span: TimeRange | None) -> Verification:
    """Count what the keys tell."""
    gaps: list[Segment] = []
    records = 0
    for piece in _pieces(await deps.coverage.known(series), span):
        async with deps.coverage.locks.hold(series.id):
            known = await deps.coverage.known(series)
            found = await counted(deps.store, known, piece, every_key=True)
            lacking = _gaps(found, known, known.grid_ms)
            if lacking:
                await deps.coverage.lay_over(series, [s for s in found if s.verdict in (Verdict.STORED, Verdict.OURS)])
        records += sum(segment.records for segment in found)
        gaps += lacking
    return Verification(counted=records, gaps=tuple(gaps))


class Verifier:
    """Called often; verifies each series when its time has come, and starts what brings back what was lost."""

    def __init__(self, deps: Dependencies) -> None:
        self._deps = deps
        self._looked_at = deps.clock.monotonic()  # not at once: a manager may live for one load only

    async def look(self) -> None:
        """Verify the series whose last verification is too old. Raises RetryableError."""
        deps, every_s = self._deps, self._deps.policy.verify_every_s
        now = deps.clock.monotonic()
        if not every_s or now - self._looked_at < min(LOOK_EVERY_S, every_s):
            return
        self._looked_at = now
        due_ms = deps.clock.now_ms() - int(every_s * 1000)
        found = [(known.verified_ms or 0, known.series) async for known in deps.coverage.all() if known.segments]
        for verified_ms, series in sorted(found):
            deps.fence()
            with tried_again_later(deps.observer, "Verify", series=series.id):  # the next series may well be there
                if not rule_of(series).is_counted:
                    continue
                if verified_ms <= due_ms:
                    await verify(deps, series)
                if deps.policy.verify_repairs:
                    await self._repair(series)

    async def _repair(self, series: Series) -> None:
        """Start a workflow for each range of which records were lost, unless one is under way.

        Where the latest one failed, the next begins after the next verification.
        """
        deps = self._deps
        known = await deps.coverage.known(series)
        ranges = _lost(known.segments)
        if not ranges:
            return
        type_name = type_of(series)
        before = await self._latest(series.symbol, type_name, ranges)
        begun = 0
        for span in ranges:
            last = before.get(span)
            failed = last is not None and last.status in (Status.ERROR, Status.INTERRUPTED)
            if failed and last is not None and (last.ended_ms or 0) >= (known.verified_ms or 0):
                continue
            if relies_on(deps.workflows, series, span) is not None:
                continue
            if begun >= _REPAIRS_A_SERIES or len(deps.workflows.live) >= deps.policy.max_live:
                return
            begun += 1
            workflow = await self._begin(StartRequest(symbol=series.symbol, type=type_name, time_range=str(span)))
            deps.observer.count("verification_repairs_total")
            _log.warning("what was lost is loaded again", queue_id=workflow.queue_id, range=str(span))

    async def _latest(self, symbol: str, type_name: str, ranges: Sequence[TimeRange]) -> Mapping[TimeRange, Workflow]:
        """Of each range the latest workflow that a verification started for a part of it, where there is one."""
        found: dict[TimeRange, Workflow] = {}
        async for workflow in self._deps.workflows.of_series(symbol, type_name):
            history = history_of(workflow)
            for span in ranges if history is not None and history.verification else ():
                if workflow.span.intersection(span) is not None:
                    found.setdefault(span, workflow)
            if len(found) == len(ranges):
                break
        return found

    async def _begin(self, request: StartRequest) -> Workflow:
        now_ms = self._deps.clock.now_ms()
        checked = check(request, now_ms)

        def draft(code: str) -> Workflow:
            return workflow_of(checked, code=code, now_ms=now_ms, exchange_now_ms=now_ms, verification=True)

        return await self._deps.reservations.create(self._deps.workflows, draft)


def _pieces(known: SeriesCoverage, span: TimeRange | None) -> Iterator[TimeRange]:
    step_ms = rule_of(known.series).step_ms
    for segment in known.segments:
        common = segment.span if span is None else segment.span.intersection(span)
        if common is None or segment.verdict is not Verdict.STORED:
            continue
        if step_ms is not None:
            size = _PIECE_RECORDS * step_ms
        else:
            size = (common.end_ms - common.start_ms) // (segment.records // _PIECE_RECORDS + 1) + 1
        for start_ms in range(common.start_ms, common.end_ms, size):
            yield TimeRange(start_ms, min(start_ms + size, common.end_ms))


def _gaps(found: Sequence[Segment], known: SeriesCoverage, phase_ms: int | None) -> list[Segment]:
    """What of `found` is `ours` though `known` calls it stored, with where it was and how many records it had."""
    gaps: list[Segment] = []
    for segment in found:
        if segment.verdict is Verdict.OURS:
            records = len(rule_of(known.series).expected(segment, phase_ms) or ())
            gaps += [
                replace(segment, collection=one.collection, records=records)
                for one in touching(known.segments, segment.span)
            ]
    return gaps


def _lost(segments: Sequence[Segment]) -> list[TimeRange]:
    """Ranges from the first to the last `ours` between which nothing is that nobody has asked for."""
    found: list[TimeRange] = []
    open_ = False
    cursor_ms: int | None = None
    for segment in segments:
        if segment.verdict not in _WHOLE or cursor_ms != segment.start_ms:
            open_ = False
        cursor_ms = segment.end_ms
        if segment.verdict is Verdict.OURS:
            start_ms = found.pop().start_ms if open_ else segment.start_ms
            found.append(TimeRange(start_ms, segment.end_ms))
            open_ = True
    return found
