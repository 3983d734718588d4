"""Makes the API's answers from stored documents and from what the manager's use cases return. Pure."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from streamforge.manager import answers, request_answers, start_answers, use_cases
from streamforge.manager.coverage import answers as data_answers
from streamforge.manager.dead_letters.model import code_of
from streamforge.manager.engine import document as workflow
from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.form import Shown
from streamforge.manager.engine.registry import form_of
from streamforge.manager.handover_answers import handover_answer
from streamforge.manager.note_codes import told_by
from streamforge.manager.workflow_progress import distinct_records, progress_of, stored_records, waiting_for
from streamforge.manager.workflows.analyses.graph_input import TYPE as GRAPH_TYPE
from streamforge.manager.workflows.analyses.model_input import SCORE_TYPE
from streamforge.manager.workflows.analyses.model_input import TYPE as MODEL_TYPE
from streamforge.manager.workflows.series.model import planned_span
from streamforge_utils.model import coverage, messages
from streamforge_utils.model.coverage import KEPT, Verdict
from streamforge_utils.model.kinds.registry import type_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.model.topic_reading import JSON_TYPE

A = TypeVar("A", bound=msgspec.Struct)
_Segments = Sequence[coverage.Segment]

_EPOCH_YEAR_END_MS = 253_402_300_799_999  # the last millisecond of the year 9999


def answer(kind: type[A], source: object, **fields: Any) -> A:
    """A `kind` with `fields`; its other fields are those of the same name in `source`."""
    copied = {name: getattr(source, name) for name in kind.__struct_fields__ if name not in fields}
    return kind(**copied, **fields)


@lru_cache(maxsize=4096)  # pages of a list name the same times again
def moment(time_ms: int) -> str:
    """ISO 8601 in UTC; milliseconds only where there are any."""
    time_ms = min(max(time_ms, 0), _EPOCH_YEAR_END_MS)
    text = datetime.fromtimestamp(time_ms // 1000, UTC).isoformat().removesuffix("+00:00")
    return f"{text}.{time_ms % 1000:03d}Z" if time_ms % 1000 else f"{text}Z"


def moment_or_none(time_ms: int | None) -> str | None:
    """As `moment`; None for None."""
    return None if time_ms is None else moment(time_ms)


def range_fields(found: TimeRange | coverage.Segment) -> dict[str, Any]:
    """The four fields of a range."""
    return {
        "start": moment(found.start_ms),
        "end": moment(found.end_ms),
        "start_ms": found.start_ms,
        "end_ms": found.end_ms,
    }


def workflow_summary(
    found: Workflow, undriven: str | None = None, now: use_cases.Report | None = None, *, at_ms: int | None = None
) -> answers.WorkflowSummary:
    """A workflow for a list. undriven: why no manager drives workflows now. now: what is known of an ended one's range,
    where its proof was longer ago. at_ms: the time, which tells how far behind a live one is; None: when its store was
    last compared."""
    return answers.WorkflowSummary(**_summary(found, undriven, now, at_ms))


def workflow_answer(
    found: Workflow, undriven: str | None = None, now: use_cases.Report | None = None, *, at_ms: int | None = None
) -> answers.Workflow:
    """A workflow with its steps. undriven, now, at_ms: as `workflow_summary` takes them."""
    return answers.Workflow(**_whole(found, undriven, now, at_ms))


def accepted_answer(
    started: use_cases.Started, undriven: str | None, now: use_cases.Report | None
) -> start_answers.Accepted:
    """The outcome of a request. undriven, now: as `workflow_summary` takes them."""
    return start_answers.Accepted(
        **_whole(started.workflow, undriven, now, None),
        joined=started.joined,
        behind_seconds=started.behind_ms / 1000,
        asked_range=None if started.asked is None else str(started.asked),
        since=None if started.since is None else _since(started.since),
    )


def _since(found: use_cases.Continuation) -> start_answers.Since:
    return start_answers.Since(
        start=moment(found.start_ms),
        coverage_end=moment(found.end_ms),
        repaired=_missing(found.repaired),
        left=_missing(found.left),
    )


def _missing(found: Iterable[coverage.Segment]) -> list[start_answers.Missing]:
    return [answer(start_answers.Missing, one, **range_fields(one)) for one in found]


def up_to_date_answer(found: use_cases.UpToDate) -> start_answers.UpToDate:
    """That a request for what is new made no workflow."""
    return start_answers.UpToDate(
        symbol=found.series.symbol,
        type=type_of(found.series),
        until=moment(found.until_ms),
        until_ms=found.until_ms,
        ended=found.ended,
        left=_missing(found.left),
    )


def _whole(found: Workflow, undriven: str | None, now: use_cases.Report | None, at_ms: int | None) -> dict[str, Any]:
    idle, shown = undriven is not None and not found.ended, form_of(found).present(found, at_ms)
    return {
        **_summary(found, undriven, now, at_ms, shown),
        **_OF_OTHER_FORMS,
        "asked": [request_answers.Asked(request=one.request, by=one.by, at=moment(one.at_ms)) for one in found.asked],
        "repairs": found.repairs,
        "coverage": None if found.form.proof is None else _proof(found.form.proof, shown.segments, now),
        "steps": [_step(step, idle=idle) for step in found.steps],
        **shown.fields,
    }


_OF_OTHER_FORMS: dict[str, Any] = {
    "again": False,
    "parts": [],
    **told_by("remark", []),
    "topic_input": None,
    "graph": None,
    "model": None,
    "made_of": None,
}
"""What is answered of a workflow whose form has nothing of the kind."""


def _summary(
    found: Workflow,
    undriven: str | None,
    now: use_cases.Report | None,
    at_ms: int | None,
    shown: Shown | None = None,
) -> dict[str, Any]:
    shown = form_of(found).present(found, at_ms) if shown is None else shown
    alone = None if found.ended else undriven
    queue, start_ms, planned = f"/queues/{found.queue_id}", found.span.start_ms, shown.span
    start_ms = start_ms if planned is None else planned.start_ms
    end_ms = start_ms if planned is None else planned.end_ms
    return {
        "queue_id": found.queue_id,
        "status": found.status,
        "symbol": found.symbol,
        "type": found.type,
        "time_range": answers.TimeRange(
            requested=found.requested,
            start=moment(start_ms),
            end=moment(end_ms),
            start_ms=start_ms,
            end_ms=end_ms,
            clipped=shown.clipped,
        ),
        "created_at": moment(found.created_ms),
        "ended_at": moment_or_none(found.ended_ms),
        "waiting_for": waiting_for(found) if alone is None else f"a manager: {alone}",
        "undriven": alone,
        "progress": progress_of(found, idle=alone is not None, now=now, shown=shown),
        "proven_at": None if found.form.proof is None else moment(found.form.proof.checked_ms),
        "failure": found.failure,
        "batch": found.batch or None,
        "labels": found.labels,
        "supplements": None,
        "live": None,
        "topic": form_of(found).topic(found),
        "collection": found.collection,
        "links": answers.Links(
            self=queue,
            events=f"{queue}/events",
            coverage=f"{queue}/coverage",
            records=f"/collections/{found.collection}/records",
            dead_letters=f"{queue}/dlq",
        ),
        **shown.summary,
    }


def _step(step: workflow.Step, *, idle: bool) -> answers.Step:
    return answer(
        answers.Step,
        step,
        records=distinct_records(step, step.attempts),
        messages_left=step.left,
        handover=handover_answer(step),
        messages_left_at_least=step.left_at_least,
        progress=None if step.attempt is None else _attempt_progress(step.attempt.progress, idle=idle),
        attempts=[_attempt(attempt, idle=idle) for attempt in _in_order(step)],
    )


def _in_order(step: workflow.Step) -> list[workflow.Attempt]:
    """Its attempts by number: also those that listen, or have listened, beside the one that writes."""
    found = (*step.attempts, *step.shadows, *(() if step.shadow is None else (step.shadow,)))
    return sorted(found, key=lambda one: one.number)


def _attempt(attempt: workflow.Attempt, *, idle: bool) -> answers.Attempt:
    return answer(
        answers.Attempt,
        attempt,
        last_word=attempt.terminal_event,
        status=_attempt_status(attempt),
        started_at=moment_or_none(attempt.started_ms),
        ended_at=moment_or_none(attempt.ended_ms),
        seen_at=moment_or_none(attempt.seen_ms),
        progress=_attempt_progress(attempt.progress, idle=idle),
        error=attempt.error or None,
        reason=attempt.reason or None,
        stop_reason=attempt.stop_reason or None,
        ranges=list(attempt.ranges),
    )


def _attempt_status(attempt: workflow.Attempt) -> str:
    if attempt.terminal_event is not None:
        return attempt.terminal_event
    if attempt.ended_ms is not None:
        return "error"
    if attempt.stop_asked_ms is not None:
        return "stopping"
    return "running" if attempt.started_ms is not None or attempt.observed else "planned"


def _attempt_progress(progress: messages.Progress, *, idle: bool) -> answers.AttemptProgress:
    if idle:
        return answer(answers.AttemptProgress, progress, rate=0.0, waiting=None, waiting_until=None)
    until = progress.waiting_until
    until_ms = None if until is None else int(min(max(until, 0.0), 1e12) * 1000)
    return answer(answers.AttemptProgress, progress, waiting_until=moment_or_none(until_ms))


def _proof(proof: workflow.Proof, found: _Segments | None, now: use_cases.Report | None) -> answers.CoverageSummary:
    """found: the segments of the proof; None: it is of no series."""
    segments = (found or ()) if now is None else now.segments
    return answers.CoverageSummary(
        complete=proof.is_whole if found is None else _is_complete(segments),
        checked_at=moment(proof.checked_ms),
        round=proof.round,
        records_expected=proof.expected,
        records_stored=proof.stored if now is None else stored_records(segments),
        verdicts=_verdict_sums(segments),
    )


def _is_complete(segments: Iterable[coverage.Segment]) -> bool:
    """Whether the exchange has nothing more of every hole, or retention removed it; what was lost lacks."""
    return all(segment.verdict in KEPT for segment in segments)


def _verdict_sums(segments: Sequence[coverage.Segment]) -> list[answers.VerdictSum]:
    """Each verdict that there is, with how much has it."""
    by_verdict = {verdict: [one for one in segments if one.verdict is verdict] for verdict in Verdict}
    return [
        answers.VerdictSum(
            verdict=verdict,
            segments=len(found),
            seconds=sum(one.end_ms - one.start_ms for one in found) / 1000,
            records=sum(one.records for one in found),
        )
        for verdict, found in by_verdict.items()
        if found
    ]


def coverage_answer(
    report: use_cases.Report, *, queue_id: str | None = None, undriven: str | None = None
) -> data_answers.Coverage:
    """What is known of a span of a series. undriven: as in `workflow_summary`."""
    segments, span = report.segments, report.span
    return data_answers.Coverage(
        queue_id=queue_id,
        symbol=report.series.symbol,
        type=report.series.kind
        if report.series.kind in (JSON_TYPE, GRAPH_TYPE, MODEL_TYPE, SCORE_TYPE)
        else type_of(report.series),
        span=None if span is None else data_answers.CoverageSpan(basis=report.basis, **range_fields(span)),
        complete=(span is not None or report.basis == "workflow") and _is_complete(segments)
        if report.complete is None
        else report.complete,
        verdicts=_verdict_sums(segments),
        segments=segments_answer(segments),
        loading=[_loading(found, undriven) for found in report.loading],
    )


def _loading(found: Workflow, undriven: str | None) -> data_answers.CoverageLoading:
    progress, span = progress_of(found), planned_span(found) or found.span
    return data_answers.CoverageLoading(
        queue_id=found.queue_id,
        status=found.status,
        start_ms=span.start_ms,
        end_ms=span.end_ms,
        records_expected=progress.records_expected,
        records_stored=progress.records_stored,
        undriven=undriven,
    )


def segments_answer(found: Iterable[coverage.Segment]) -> list[data_answers.Segment]:
    """Segments of a coverage."""
    return [answer(data_answers.Segment, one, **range_fields(one), **_where_known(one)) for one in found]


def _where_known(segment: coverage.Segment) -> dict[str, Any]:
    """What most segments do not have, and their JSON then leaves out."""
    found = {"first_id": segment.first_id, "last_id": segment.last_id, "cause": segment.cause or None}
    return {name: msgspec.UNSET if value is None else value for name, value in found.items()}


def series_answer(
    series: Series, span: TimeRange | None, segments: _Segments, records: int | None, asked: _Segments
) -> data_answers.Series:
    """A series for a list. span: of what is stored. segments: of that, or of what was and is gone. asked: of more."""
    type_name = type_of(series)
    return data_answers.Series(
        symbol=series.symbol,
        type=type_name,
        **(dict.fromkeys(("start", "end", "start_ms", "end_ms")) if span is None else range_fields(span)),
        records=records,
        complete=bool(segments) and _is_complete(segments),
        holes=sum(segment.verdict is not Verdict.STORED for segment in segments),
        verdicts=_verdict_sums(segments),
        asked_start_ms=asked[0].start_ms if asked else None,
        asked_end_ms=asked[-1].end_ms if asked else None,
        asked=_verdict_sums(asked),
        coverage=f"/coverage/{quote(series.symbol, safe='')}/{type_name}",
    )


def removed_answer(queue_id: str, records: int, staying: Sequence[coverage.Segment]) -> data_answers.Removed:
    """What the removal of a workflow removed and left."""
    return data_answers.Removed(
        queue_id=queue_id,
        records_removed=records,
        records_staying=sum(segment.records for segment in staying),
        staying=segments_answer(staying),
    )


def verification_answer(found: use_cases.Verification, known: data_answers.Coverage) -> data_answers.Verification:
    """What counting a series found. known: its coverage by then."""
    return data_answers.Verification(
        records_counted=found.counted,
        records_missing=sum(gap.records for gap in found.gaps),
        gaps=[answer(data_answers.Gap, gap, **range_fields(gap)) for gap in found.gaps],
        coverage=known,
    )


def dead_letter_answer(letter: use_cases.DeadLetter, most: int | None = None) -> data_answers.DeadLetter:
    """A dead letter; bytes that are not text travel as base64. most: bytes of its value that are given; None: all."""
    encoding, key, size = "utf-8", None, len(letter.value)
    try:
        value = letter.value.decode().encode()[:most].decode(errors="ignore")
        key = None if letter.key is None else letter.key.decode()
    except UnicodeDecodeError:
        encoding = "base64"
        value = base64.b64encode(letter.value[:most]).decode()
        key = None if letter.key is None else base64.b64encode(letter.key).decode()
    given = {"time": moment(letter.time_ms), "encoding": encoding, "key": key, "value": value}
    given["code"] = code_of(letter.reason).value
    return answer(data_answers.DeadLetter, letter, **given, size=size, cut=most is not None and size > most)
