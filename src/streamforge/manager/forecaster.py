"""What a load would take, told before anything is started: its parts, the time, the download and the room."""

from __future__ import annotations

import asyncio
import math
from operator import itemgetter
from typing import NamedTuple

import msgspec

from streamforge.manager.admission import NO_ARCHIVE, NO_CODE, Admission
from streamforge.manager.answers import TimeRange
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.refusals import NotNow
from streamforge.manager.note_codes import NoteCode, Noted, noted, told_by
from streamforge.manager.plan_answers import Forecast, ForecastPart, free_bytes, warnings_of
from streamforge.manager.presentation import answer, moment, range_fields, segments_answer
from streamforge.manager.use_cases import StartRequest
from streamforge.manager.workflows.history.model import History
from streamforge.manager.workflows.history.planner import planned
from streamforge.manager.workflows.history.source_plan import Sources, chosen_files
from streamforge.manager.workflows.series.model import Plan, SourceChoice, loaded_series
from streamforge.manager.workflows.series.requests import added_loader, check, loads_from_archive, workflow_of
from streamforge_utils.model.coverage import Verdict
from streamforge_utils.model.errors import InvalidInput, PermanentError, RetryableError, StreamForgeError
from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.model.kinds.registry import is_live_type, kind_of
from streamforge_utils.model.usage import shown_size
from streamforge_utils.runtime.history.archive_plan import sample_count
from streamforge_utils.runtime.life.worker_definition import Source

WITHIN_S = 60.0
"""Who asks waits for the answer."""
DOWNLOAD_BYTES_S = 10_000_000
"""Bytes a second from the archive, declared: what a usual line gives."""
REQUESTS_S = 20.0
"""Requests a second that a loader makes, four at once, declared."""
BEGIN_S = 2.0
"""For the start of the workers and the proof, at the least."""


class Backend:
    """What a record takes in a store, and how many are stored a second (how it is known: docs/how-to/operations.md).

    factor: bytes per byte of the document's JSON. overhead: bytes beside that, for the key, the version and indexes.
    """

    def __init__(self, factor: float, overhead: int, rate: int) -> None:
        self.factor, self.overhead, self.rate = factor, overhead, rate

    def record_bytes(self, kind: RecordKind) -> int:
        """What one record of a kind takes."""
        return round(document_bytes(kind) * self.factor + self.overhead)


class Room(NamedTuple):
    """Free bytes on the store's disk, and bytes that the licence leaves; None: not known, or there is no limit."""

    free: int | None
    left: int | None


EMBEDDED = Backend(1.05, 66, 80_000)
ARANGODB = Backend(1.0, 80, 20_000)


def document_bytes(kind: RecordKind) -> int:
    """The bytes of a stored record's JSON: of the kind's example, else of 20 for each field."""
    if kind.example is None:
        return 20 * len(kind.columns)
    return len(kind.document(None, msgspec.json.encode(kind.example))[2])


def require_end(type_name: str) -> None:
    """Raises InvalidInput for a live type, which takes for ever."""
    if is_live_type(type_name):
        raise InvalidInput("type", f"{type_name} has no end: ask what its history takes, with the type of a past range")


class Forecaster:
    """Makes forecasts. It asks the exchange and the archive, and changes nothing."""

    def __init__(self, deps: Dependencies, admission: Admission) -> None:
        self._deps = deps
        self._admission = admission

    async def of(self, request: StartRequest, room: Room | None = None) -> Forecast:
        """What the load of `request` would take. room: as `room` gives it, where that is known.

        Raises InvalidInput, UpToDate, NotNow (the exchange refuses access) or RetryableError.
        """
        deps = self._deps
        checked = check(request, deps.clock.now_ms())
        require_end(checked.type)
        if checked.source is SourceChoice.ARCHIVE and deps.archive is None:
            raise InvalidInput("source", NO_ARCHIVE)
        checked, _, now_ms = await self._admission.placed(request, checked)
        workflow = workflow_of(checked, code=NO_CODE, now_ms=deps.clock.now_ms(), exchange_now_ms=now_ms)
        known = await deps.coverage.known(loaded_series(workflow))
        try:
            async with asyncio.timeout(WITHIN_S):
                plan, sources = await planned(
                    deps.exchange,
                    loaded_series(workflow),
                    workflow.span,
                    known.segments,
                    exchange_now_ms=await deps.exchange.server_time(),
                    again=workflow.part(History).again,
                    archive=deps.archive if loads_from_archive(workflow) else None,
                    alone=workflow.part(History).source is SourceChoice.ARCHIVE,
                    begins_ms=known.first_ms,
                )
        except InvalidInput:
            raise
        except PermanentError as error:
            raise NotNow(str(error)) from error
        except TimeoutError as error:
            raise RetryableError(f"{deps.exchange_name} did not answer within {WITHIN_S:g} s: try again") from error
        return self._told(workflow, plan, sources, room or await self.room())

    def _told(self, workflow: Workflow, plan: Plan, sources: Sources | None, room: Room) -> Forecast:
        deps, kind = self._deps, kind_of(loaded_series(workflow))
        parts = [] if sources is None else self._parts(plan, sources, kind)
        records = sum(part.records for part in parts)
        requests, weight = sum(part.requests for part in parts), sum(part.weight for part in parts)
        download = sum(part.download_bytes for part in parts)
        store_bytes = records * self._backend.record_bytes(kind)
        seconds, estimate = self.time(records, requests, weight, download)
        span = workflow.span
        until_ms = span.end_ms if plan.until_ms is None else max(span.start_ms, plan.until_ms)
        targets = [step.target for step in workflow.steps]
        if Source.ARCHIVE in plan.ranges and (loader := added_loader(workflow)) is not None:
            targets.append(loader.target)
        return Forecast(
            symbol=workflow.symbol,
            type=workflow.type,
            time_range=TimeRange(
                requested=workflow.requested,
                start=moment(span.start_ms),
                end=moment(until_ms),
                start_ms=span.start_ms,
                end_ms=until_ms,
                clipped=workflow.part(History).clipped or until_ms < span.end_ms,
            ),
            source=workflow.part(History).source.value,
            targets=targets,
            parts=parts,
            unknown=segments_answer(one for one in plan.settled if one.verdict is Verdict.UNKNOWN),
            records_expected=records,
            records_there=plan.there,
            requests=requests,
            weight=weight,
            weight_per_minute=deps.policy.weight_per_minute,
            download_bytes=download,
            seconds=round(seconds, 1),
            estimate=estimate.text,
            estimate_codes=[estimate.note],
            store_bytes=store_bytes,
            free_bytes=room.free,
            licence_left_bytes=room.left,
            **told_by("warning", warnings_of(store_bytes, download, *room)),
        )

    def _parts(self, plan: Plan, sources: Sources, kind: RecordKind) -> list[ForecastPart]:
        """The first part that is read of files has the requests that compare those of all of them."""
        weight = 0 if kind.paging is None else kind.paging.weight({"limit": str(kind.paging.most)})
        files = [chosen_files(sources.files, part.span) for part in plan.parts if part.source is Source.ARCHIVE]
        every = {one.path: one for some in files for one in some}
        samples = sample_count(list(every.values()), kind, self._deps.archive_samples)
        found: list[ForecastPart] = []
        for part in plan.parts:
            records, own = sources.records(part.span), []
            if part.source is Source.ARCHIVE:
                own, requests, samples = chosen_files(sources.files, part.span), samples, 0
            else:
                requests = sources.requests(part.span)
            found.append(
                answer(
                    ForecastPart,
                    part,
                    **range_fields(part.span),
                    records=sources.held(part.span) if records is None else records,
                    requests=requests,
                    weight=requests * weight,
                    download_bytes=sum(one.size for one in own),
                )
            )
        return found

    @property
    def _backend(self) -> Backend:
        return EMBEDDED if self._deps.folder is not None else ARANGODB

    def time(
        self, records: int, requests: int, weight: int, download: int, *, loads: int = 1, at_once: int = 1
    ) -> tuple[float, Noted]:
        """Seconds of so many loads, and how they are estimated: sources and store work side by side."""
        limit, rate = self._deps.policy.weight_per_minute, self._backend.rate
        requests_s, begin_s = round(REQUESTS_S * min(loads, at_once)), round(BEGIN_S * math.ceil(loads / at_once))
        if not records:
            return 0.0, noted("nothing is to be loaded", NoteCode.NOTHING_TO_LOAD)
        at = f"{shown_size(download)} at {shown_size(DOWNLOAD_BYTES_S)}"
        seconds, code, what, values = max(
            (
                requests / requests_s,
                NoteCode.LIMITED_BY_REQUESTS,
                f"{requests:,} requests at {requests_s} a second",
                {"requests": requests, "rate": requests_s},
            ),
            (
                max(0, weight - limit) / limit * 60,
                NoteCode.LIMITED_BY_WEIGHT,
                f"{weight:,} weight at {limit:,} a minute",
                {"weight": weight, "rate": limit},
            ),
            (
                download / DOWNLOAD_BYTES_S,
                NoteCode.LIMITED_BY_DOWNLOAD,
                f"{at} a second",
                {"download_bytes": download, "rate_bytes": DOWNLOAD_BYTES_S},
            ),
            (
                records / rate,
                NoteCode.LIMITED_BY_STORE,
                f"{records:,} records stored at {rate:,} a second",
                {"records": records, "rate": rate},
            ),
            key=itemgetter(0),
        )
        how = f"the longest of what goes on side by side, {what}, and {begin_s} s to begin and to prove; declared rates"
        return seconds + begin_s, noted(how, code, **values, begin_s=begin_s)

    async def room(self) -> Room:
        """What there is now."""
        free = None if self._deps.folder is None else free_bytes(self._deps.folder)
        try:
            usage = await self._deps.store.usage() if self._deps.folder is None else None
        except StreamForgeError:
            usage = None
        limit = None if usage is None else usage.limit_bytes
        return Room(free, None if usage is None or limit is None else max(0, limit - usage.used_bytes))
