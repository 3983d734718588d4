"""How far a workflow is: what its sinks have stored, at which rate, and what it waits for. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from streamforge.manager import answers, use_cases
from streamforge.manager.engine import document as workflow
from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.form import Shown
from streamforge.manager.engine.registry import form_of
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.runtime.life.worker_definition import Role


def waiting_for(found: Workflow) -> str | None:
    """What keeps a workflow from going on: its own reason, else that of the step that holds up the others.

    A sink that waits although records are there for it holds up the loaders; a loader that waits, the sinks. A sink
    without records waits for nothing but its loaders: that is told where none of them runs.
    """
    if found.ended or found.waiting_for:
        return None if found.ended else found.waiting_for
    running = [(step, step.attempt.progress) for step in found.steps if step.attempt is not None and _runs(step)]
    loaders = [pair for pair in running if pair[0].role is Role.LOADER]
    sinks = [pair for pair in running if pair[0].role is Role.SINK]
    behind = [pair for pair in sinks if pair[1].lag]
    for step, progress in (*behind, *loaders, *(() if loaders else sinks)):
        if progress.waiting:
            return f"{step.target}: {progress.waiting}"
    return None


def _runs(step: workflow.Step) -> bool:
    latest = step.attempt
    return latest is not None and latest.ended_ms is None and latest.terminal_event is None


def progress_of(
    found: Workflow, *, idle: bool = False, now: use_cases.Report | None = None, shown: Shown | None = None
) -> answers.Progress:
    """How far a workflow is: what was there before or the latest proof counted, and what its sinks confirmed since.

    idle: no manager drives it: its last rate does not hold any more. now: what is known of an ended one's range.
    shown: as its form shows it, where that is known already.
    """
    sinks = [step for step in found.steps if step.role in (Role.SINK, Role.ANALYST)]
    proof, shown = found.form.proof, form_of(found).present(found, None) if shown is None else shown
    there = shown.there
    expected: int | None = shown.expected if proof is None else proof.expected
    if now is not None:
        stored = stored_records(now.segments)
    else:
        stored = there if proof is None else proof.stored
        if proof is None or not found.ended:
            stored += _confirmed(sinks, since_ms=0 if proof is None else proof.checked_ms)
    if shown.stored is not None and (not found.ended or (proof is None and now is None)):
        stored = shown.stored if shown.by_loaders else max(stored, shown.stored)
    if expected is not None:
        stored = min(stored, expected)
    tellers = [step for step in found.steps if step.role is Role.LOADER] if shown.by_loaders else sinks
    rate = 0.0 if idle else min(map(_rate, tellers), default=0.0)
    share = None if expected is None else stored / expected if expected else 1.0
    eta = None
    if expected is not None and not found.ended and not idle:
        eta = _eta_s(shown.requests_s, sinks, expected - stored, rate)
    return answers.Progress(
        records_expected=expected,
        records_stored=stored,
        records_there=there,
        records_refused=sum(map(_refused, sinks)),
        share=share,
        rate=round(rate, 1),
        eta_seconds=None if eta is None else round(eta, 1),
    )


def _eta_s(requests_s: Sequence[float], sinks: Sequence[workflow.Step], left: int, rate: float) -> float | None:
    """Seconds until the `left` records are stored; None: nothing tells.

    A loader spends the weight of a minute in a burst and waits for the next one: neither the rate of a burst nor that
    of a wait holds. It takes no less than its requests take by their weight, and goes on as it has on average.
    """
    if requests_s:
        rate = max(rate, min(map(_mean_rate, sinks), default=0.0))
    return max([*requests_s, *([left / rate] if rate > 0 else [])], default=None)


def _mean_rate(step: workflow.Step) -> float:
    """Records a second of a running attempt, from its start to its latest event."""
    attempt = step.attempt
    if attempt is None or not _runs(step) or attempt.started_ms is None or attempt.seen_ms is None:
        return 0.0
    return attempt.progress.records * 1000 / max(1, attempt.seen_ms - attempt.started_ms)


def _confirmed(sinks: Iterable[workflow.Step], since_ms: int) -> int:
    """What every sink stored in attempts planned since then: each stores every record, so the slowest counts."""
    return min(
        (
            distinct_records(
                step, [a for a in step.attempts if a.planned_ms >= since_ms and a.number >= step.round_from]
            )
            for step in sinks
        ),
        default=0,
    )


def distinct_records(step: workflow.Step, attempts: Sequence[workflow.Attempt]) -> int:
    """What consecutive attempts of a sink have stored; what a later one has read once more counts once.

    By how far they came in the topic since the first of them began: a later attempt begins where the one before it had
    committed, not where it had stored. Where that beginning is not known any more, their sum.
    """
    total = sum(attempt.progress.records for attempt in attempts)
    readers = [attempt for attempt in attempts if not attempt.replay]
    offsets = [a.progress.position for a in readers if a.progress.position is not None]
    if step.role is not Role.SINK or len(readers) < 2 or not offsets:
        return total
    first = readers[0].number
    earlier = [
        a.progress.position
        for a in step.attempts
        if a.number < first and not a.replay and a.progress.position is not None
    ]
    begin = 0 if first == 1 else max(earlier) + 1 if earlier else None
    if begin is None or max(offsets) < begin:  # or the topic is another one
        return total
    replayed = total - sum(a.progress.records for a in readers)
    read = max(offsets) + 1 - begin - sum(a.progress.refused for a in readers)
    new = sum(a.progress.records - a.progress.unchanged for a in readers)
    return min(total, max(read, new) + replayed)


def _refused(step: workflow.Step) -> int:
    """What its attempts refused since all earlier dead letters were replayed."""
    refused = 0
    for attempt in reversed(step.attempts):
        refused += attempt.progress.refused
        if attempt.replay and attempt.terminal_event == "finished":
            if not attempt.letters:
                break
            refused -= attempt.letters
    return max(0, refused)


def _rate(step: workflow.Step) -> float:
    return step.attempt.progress.rate if step.attempt is not None and _runs(step) else 0.0


def stored_records(segments: Iterable[Segment]) -> int:
    """How many records the stored ones of `segments` hold."""
    return sum(segment.records for segment in segments if segment.verdict is Verdict.STORED)
