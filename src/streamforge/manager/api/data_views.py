"""From what the service says of stored data to what the API answers. Pure."""

from __future__ import annotations

import base64
from typing import Literal
from urllib.parse import quote

from streamforge.manager import service
from streamforge.manager.api import data_models
from streamforge.manager.api.views import is_complete, moment, moment_if_any, progress_of, verdict_sums
from streamforge.manager.workflow import Workflow
from streamforge_utils.model import coverage
from streamforge_utils.model.coverage import Verdict
from streamforge_utils.model.kinds.registry import type_of


def coverage_view(
    report: service.Report, *, queue_id: str | None = None, undriven: str | None = None
) -> data_models.Coverage:
    """What is known of a span of a series. undriven: as in `workflow_view`."""
    segments, span = report.segments, report.span
    return data_models.Coverage(
        queue_id=queue_id,
        symbol=report.series.symbol,
        type=type_of(report.series),
        span=None
        if span is None
        else data_models.CoverageSpan(
            basis=report.basis,
            start=moment(span.start_ms),
            end=moment(span.end_ms),
            start_ms=span.start_ms,
            end_ms=span.end_ms,
        ),
        complete=(span is not None or report.basis == "workflow") and is_complete(segments),
        verdicts=verdict_sums(segments),
        segments=[_segment(s) for s in segments],
        loading=[_loading(found, undriven) for found in report.loading],
    )


def _loading(found: Workflow, undriven: str | None) -> data_models.CoverageLoading:
    progress, span = progress_of(found), found.planned_span or found.span
    return data_models.CoverageLoading(
        queue_id=found.queue_id,
        status=found.status.value,
        start_ms=span.start_ms,
        end_ms=span.end_ms,
        records_expected=progress.records_expected,
        records_stored=progress.records_stored,
        undriven=undriven,
    )


def _segment(found: coverage.Segment) -> data_models.Segment:
    return data_models.Segment(
        start=moment(found.start_ms),
        end=moment(found.end_ms),
        start_ms=found.start_ms,
        end_ms=found.end_ms,
        verdict=found.verdict.value,
        collection=found.collection,
        records=found.records,
    )


def series_view(found: service.StoredSeries) -> data_models.Series:
    """A series for a list."""
    span, segments = found.span, found.segments
    type_name = type_of(found.series)
    start_ms, end_ms = (None, None) if span is None else (span.start_ms, span.end_ms)
    return data_models.Series(
        symbol=found.series.symbol,
        type=type_name,
        start=moment_if_any(start_ms),
        end=moment_if_any(end_ms),
        start_ms=start_ms,
        end_ms=end_ms,
        records=found.records,
        complete=bool(segments) and is_complete(segments),
        holes=sum(segment.verdict is not Verdict.STORED for segment in segments),
        coverage=f"/coverage/{quote(found.series.symbol, safe='')}/{type_name}",
    )


def removed_view(queue_id: str, found: service.Removed) -> data_models.Removed:
    """What the removal of a workflow removed and left."""
    return data_models.Removed(
        queue_id=queue_id,
        records_removed=found.records,
        records_staying=sum(segment.records for segment in found.staying),
        staying=[_segment(segment) for segment in found.staying],
    )


def verification_view(found: service.Verification, coverage: data_models.Coverage) -> data_models.Verification:
    """What counting a series found. coverage: what is known of it by then."""
    return data_models.Verification(
        records_counted=found.counted,
        records_missing=sum(gap.records for gap in found.gaps),
        gaps=[
            data_models.Gap(
                start=moment(gap.start_ms),
                end=moment(gap.end_ms),
                start_ms=gap.start_ms,
                end_ms=gap.end_ms,
                collection=gap.collection,
                records=gap.records,
            )
            for gap in found.gaps
        ],
        coverage=coverage,
    )


def dead_letter_view(letter: service.DeadLetter) -> data_models.DeadLetter:
    """A dead letter; bytes that are not text travel as base64."""
    encoding: Literal["utf-8", "base64"] = "utf-8"
    try:
        key = None if letter.key is None else letter.key.decode()
        value = letter.value.decode()
    except UnicodeDecodeError:
        encoding = "base64"
        key = None if letter.key is None else base64.b64encode(letter.key).decode()
        value = base64.b64encode(letter.value).decode()
    return data_models.DeadLetter(
        topic=letter.topic,
        partition=letter.partition,
        offset=letter.offset,
        attempt=letter.attempt,
        reason=letter.reason,
        time=moment(letter.time_ms),
        encoding=encoding,
        key=key,
        value=value,
    )
