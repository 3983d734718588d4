"""Events of workers and observed jobs, folded into a workflow. Pure: no clock, no input or output.

Only the latest attempt of a step counts; an event of an older one changes nothing, but for what its form makes of it.
Folding the same thing twice changes nothing either, so a manager that was killed reads its events again without harm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from streamforge.manager.engine.document import Attempt, Remark, Step, Workflow
from streamforge.manager.engine.lifecycle.rounds import disjoint
from streamforge.manager.engine.registry import form_of
from streamforge_utils.model.coverage import IdsRead, joined_reads
from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.model.messages import TERMINAL_EVENTS, Event, Progress, progress_of
from streamforge_utils.model.timeranges import parse_time_range
from streamforge_utils.ports.launcher import Job, JobState

_replace = msgspec.structs.replace
_REASON_SHOWN = 500
_VERSION_SHOWN = 100
_MOST_REPORTED = 1000
_FLEETING: dict[str, Any] = {"seen_ms": None, "progressed_ms": None, "progress": Progress(), "message": ""}


def fold_event(workflow: Workflow, event: Event, now_ms: int) -> Workflow:
    """The workflow after one of its events."""
    step = workflow.step(event.target)
    if step is None or step.telemetry_id != event.producer:
        return workflow
    workflow = form_of(workflow).hear(workflow, event)
    attempt, shadow = step.attempt, step.shadow
    if shadow is not None and shadow.number == event.attempt and shadow.terminal_event is None:
        return workflow.with_step(_replace(step, shadow=_with_event(shadow, event, now_ms)))
    if attempt is None or attempt.number != event.attempt or attempt.terminal_event is not None:
        return workflow
    changed = _with_event(attempt, event, now_ms)
    if attempt.shadow and (live := changed.progress.live) is not None and not live.shadow:
        changed = _replace(changed, shadow=False)
    return workflow.with_step(_replace(step, attempts=(*step.attempts[:-1], changed)))


def fold_jobs(workflow: Workflow, jobs: Mapping[str, Job], now_ms: int) -> Workflow:
    """The workflow after a look at the launcher's jobs, by name."""
    for step in workflow.steps:
        attempt, shadow = step.attempt, step.shadow
        if shadow is not None and shadow.ended_ms is None:
            seen = _with_job(shadow, jobs.get(shadow.job), now_ms)
            if seen is not shadow:
                step = _replace(step, shadow=seen)
                workflow = workflow.with_step(step)
        if attempt is None or attempt.ended_ms is not None:
            continue
        changed = _with_job(attempt, jobs.get(attempt.job), now_ms)
        if changed is not attempt:
            workflow = workflow.with_step(_replace(step, attempts=(*step.attempts[:-1], changed)))
    return workflow


def _with_event(attempt: Attempt, event: Event, now_ms: int) -> Attempt:
    attempt = _replace(attempt, seen_ms=now_ms)
    if event.event == "pong":
        return attempt
    if attempt.started_ms is None:
        # Of one that has ended it may come late: where it waited on the bus.
        began_ms = now_ms if attempt.ended_ms is None else _between(attempt, event.timestamp * 1000, attempt.ended_ms)
        attempt = _replace(attempt, started_ms=began_ms, progressed_ms=now_ms)
        version = (event.extra or {}).get("version")
        if isinstance(version, str) and version and not attempt.runs:
            attempt = _replace(attempt, runs=f"version {version[:_VERSION_SHOWN]}")
    progress = progress_of(event)
    attempt = _replace(
        attempt,
        unloaded=_remarks(attempt.unloaded, event, "unloaded", attempt.ranges),
        disputed=_remarks(attempt.disputed, event, "disputed", attempt.ranges),
        read=_read(attempt.read, event),
    )
    if event.event != "started":
        # The time in which it reports that it waits is no time without progress.
        if _counts(attempt.progress) != _counts(progress) or waits(progress, now_ms):
            attempt = _replace(attempt, progressed_ms=now_ms)
        elif progress.live is not None and progress.live.frame_age_s is not None:
            # Where nothing happens there is no record: that frames come is progress enough.
            heard_ms = now_ms - int(progress.live.frame_age_s * 1000)
            attempt = _replace(attempt, progressed_ms=max(heard_ms, attempt.progressed_ms or 0))
        attempt = _replace(attempt, progress=progress, message=event.message)
    if event.event in TERMINAL_EVENTS:
        attempt = _replace(
            attempt,
            terminal_event=event.event,
            own_exit_code=code if isinstance(code := (event.extra or {}).get("exit_code"), int) else None,
            error=event.error_message or "",
            permanent=bool((event.extra or {}).get("permanent", False)),
        )
    return attempt


class _Reported(msgspec.Struct, frozen=True):
    """A range as an event carries it."""

    range: str
    reason: str = ""


def _remarks(known: tuple[Remark, ...], event: Event, name: str, ranges: Sequence[str]) -> tuple[Remark, ...]:
    """What is `known`, and what the event reports under that name of `ranges`, sorted and disjoint.

    A terminal event reports all. What cannot be read is left out: the proof finds what lacks all the same.
    """
    reported = (event.extra or {}).get(name)
    if not isinstance(reported, list):
        return known
    mine = [parse_time_range(text) for text in ranges]
    found = [] if event.event in TERMINAL_EVENTS else list(known)
    for one in reported[:_MOST_REPORTED]:
        try:
            told = msgspec.convert(one, _Reported)
            span = parse_time_range(told.range)
        except (msgspec.ValidationError, StreamForgeError):
            continue
        reason = told.reason[:_REASON_SHOWN] or "no reason was given"
        common = (span.intersection(one) for one in mine)
        found += (Remark(one, reason) for one in common if one is not None)
    return disjoint(found)


def _read(known: tuple[IdsRead, ...], event: Event) -> tuple[IdsRead, ...]:
    """What is `known`, and what the event reports to have read. What cannot be read is left out: it proves nothing."""
    try:
        reported = msgspec.convert((event.extra or {}).get("read", ()), tuple[IdsRead, ...])
    except msgspec.ValidationError:
        return known
    return joined_reads((*known, *reported[:_MOST_REPORTED]))


def waits(progress: Progress, now_ms: int) -> bool:
    """Whether the worker has reported that it waits, for a time that is not over."""
    until = progress.waiting_until
    return progress.waiting is not None and (until is None or until * 1000 > now_ms)


def _counts(progress: Progress) -> tuple[int | None, ...]:
    return progress.records, progress.position, progress.unchanged, progress.stale, progress.refused


def _with_job(attempt: Attempt, job: Job | None, now_ms: int) -> Attempt:
    if job is None:
        if not attempt.observed:
            return attempt
        return _replace(attempt, ended_ms=now_ms, reason="its job disappeared: somebody else removed it")
    if job.image and attempt.runs != (runs := f"image {job.image}"):
        attempt = _replace(attempt, runs=runs)
    if job.state is JobState.RUNNING:
        return _waits_to_begin(attempt, job, now_ms)
    # Its end is by the launcher's clock, which may tell whole seconds; its start is when it was first heard of.
    ended_ms, started_ms = max(job.ended_ms or now_ms, attempt.planned_ms), attempt.started_ms
    if started_ms is not None and started_ms > ended_ms:
        started_ms = _between(attempt, job.started_ms or ended_ms, ended_ms)
    return _replace(
        attempt,
        observed=True,
        started_ms=started_ms,
        ended_ms=ended_ms,
        exit_code=job.exit_code,
        signal=job.signal,
        # Why the manager ended it goes before how it ended.
        reason="; ".join(part for part in (attempt.reason, job.reason) if part),
        next_step=job.next_step or (attempt.next_step if attempt.started_ms is None else ""),
    )


def _between(attempt: Attempt, time_ms: float, ended_ms: int) -> int:
    """A time of the attempt, by whichever clock: not before it was planned, nor after its end."""
    return max(attempt.planned_ms, min(int(time_ms), ended_ms))


def _waits_to_begin(attempt: Attempt, job: Job, now_ms: int) -> Attempt:
    if not attempt.observed:
        attempt = _replace(attempt, observed=True, seen_ms=attempt.seen_ms or now_ms)
    if attempt.started_ms is not None:
        return attempt
    if (job.waiting, job.next_step) != (attempt.message, attempt.next_step):
        attempt = _replace(attempt, message=job.waiting, next_step=job.next_step)
    # The time in which it waits for room is no time in which it should have begun.
    return _replace(attempt, seen_ms=now_ms) if job.waits_for_room else attempt


def without_progress(workflow: Workflow) -> Workflow:
    """The workflow without what losing costs nothing but a second look."""
    form = form_of(workflow).lasting(workflow)
    return _replace(workflow, waiting_for="", form=form, steps=tuple(_bare(step) for step in workflow.steps))


def _bare(step: Step) -> Step:
    attempt, shadow = step.attempt, step.shadow
    if shadow is not None:
        step = _replace(step, shadow=_replace(shadow, **_FLEETING))
    return step if attempt is None else _replace(step, attempts=(*step.attempts[:-1], _replace(attempt, **_FLEETING)))
