"""Makes the API's answers about batches. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from streamforge.manager import answers
from streamforge.manager.batches import answers as batch_answers
from streamforge.manager.batches.model import FAILED, Member, MemberStatus
from streamforge.manager.batches.service import MemberPage, View
from streamforge.manager.engine.document import Status, Workflow
from streamforge.manager.presentation import moment, moment_or_none
from streamforge.manager.workflow_progress import progress_of, waiting_for
from streamforge.manager.workflows.live.answers import live_answer
from streamforge_utils.model.timeranges import format_ms

FAILURES_SHOWN = 100
_NOT_LIVE = tuple(status for status in MemberStatus if status is not MemberStatus.LIVE)


def batch_summary(view: View, undriven: str | None = None) -> batch_answers.BatchSummary:
    """A batch for a list. undriven: why no manager drives batches now."""
    return batch_answers.BatchSummary(**_summary(view, undriven))


def _live_states(view: View) -> dict[str, int]:
    """How many of its workflows that go on are in which state, of live ones."""
    found = (live_answer(workflow, view.now_ms) for workflow in view.live.values())
    return dict(Counter(one.state for one in found if one is not None))


def batch_answer(view: View, undriven: str | None = None) -> batch_answers.Batch:
    """A batch with its failures."""
    batch = view.batch
    failures = [member for member in view.members if member.status in FAILED]
    return batch_answers.Batch(
        **_summary(view, undriven),
        joined=batch.totals.joined,
        duplicates=batch.duplicates,
        duplicated=list(batch.duplicated),
        archived=batch.archived,
        left_out=batch.left_out,
        left_out_first=list(batch.left_out_first),
        unknown=batch.unknown,
        unknown_first=list(batch.unknown_first),
        archive_silence=batch.archive_silence or None,
        failures=[member_answer(member, view.live) for member in failures[:FAILURES_SHOWN]],
        failures_left_out=max(0, len(failures) - FAILURES_SHOWN),
    )


def member_page(batch_id: str, page: MemberPage) -> batch_answers.BatchMemberPage:
    """A page of members."""
    return batch_answers.BatchMemberPage(
        batch_id=batch_id,
        members=[member_answer(member, page.live) for member in page.members],
        cursor=None if page.after is None else str(page.after),
    )


def member_answer(member: Member, live: Mapping[str, Workflow]) -> batch_answers.BatchMember:
    """A member. live: workflows that go on, by queue_id."""
    workflow = live.get(member.queue_id) if member.status is MemberStatus.LIVE else None
    expected: int | None = member.expected if member.status not in (MemberStatus.WAITING, MemberStatus.LIVE) else None
    stored = member.stored
    if workflow is not None:
        progress = progress_of(workflow)
        expected, stored = progress.records_expected, progress.records_stored
    return batch_answers.BatchMember(
        symbol=member.symbol,
        status=_status(member, workflow),
        queue_id=member.queue_id or None,
        delisted=member.delisted,
        joined=member.joined,
        records_expected=expected,
        records_stored=stored,
        reason=member.reason or None,
        next_step=member.next_step or None,
        code=member.code or None,
    )


def _status(member: Member, workflow: Workflow | None) -> str:
    if member.status is not MemberStatus.LIVE:
        return member.status.value
    # It has ended a moment ago, and the batch has not taken that in yet.
    return "running" if workflow is None else workflow.status.value


def _summary(view: View, undriven: str | None) -> dict[str, Any]:
    batch = view.batch
    path = f"/batches/{batch.batch_id}"
    alone = None if batch.ended else undriven
    waiting = view.trouble or _held_up(view)
    return {
        "batch_id": batch.batch_id,
        "status": batch.status.value,
        "type": batch.type,
        "time_range": answers.TimeRange(
            requested=batch.requested,
            start=moment(batch.span.start_ms),
            end=moment(batch.span.end_ms),
            start_ms=batch.span.start_ms,
            end_ms=batch.span.end_ms,
            clipped=batch.clipped,
        ),
        "symbols": batch.asked,
        "listed_at": None if batch.listed_at_ms is None else format_ms(batch.listed_at_ms),
        "again": batch.again,
        "source": batch.source,
        "labels": batch.labels,
        "size": batch.size,
        "delisted": batch.delisted,
        "created_at": moment(batch.created_ms),
        "ended_at": moment_or_none(batch.ended_ms),
        "waiting_for": waiting if alone is None else f"a manager: {alone}",
        "undriven": alone,
        "counts": _counts(view),
        "live": _live_states(view),
        "progress": _progress(view, idle=alone is not None),
        "links": batch_answers.BatchLinks(
            self=path, members=f"{path}/members", workflows=f"/queues?batch={batch.batch_id}"
        ),
    }


def _held_up(view: View) -> str | None:
    """What all of its running workflows wait for, where it is the same."""
    reasons = {waiting_for(one) for one in view.live.values() if one.status is Status.RUNNING}
    return reasons.pop() if len(reasons) == 1 else None


def _counts(view: View) -> batch_answers.BatchCounts:
    statuses = view.batch.totals.statuses
    counts = {status.value: statuses.get(status.value, 0) for status in _NOT_LIVE}
    live = Counter(workflow.status.value for workflow in view.live.values())
    going_on = {name: live.get(name, 0) for name in ("pending", "running", "stopping")}
    unseen = statuses.get(MemberStatus.LIVE.value, 0) - sum(going_on.values())
    return batch_answers.BatchCounts(**counts, **{**going_on, "running": going_on["running"] + max(0, unseen)})


def _progress(view: View, *, idle: bool) -> batch_answers.BatchProgress:
    batch, totals = view.batch, view.batch.totals
    live = [progress_of(workflow) for workflow in view.live.values()]
    expected = totals.expected + sum(one.records_expected or 0 for one in live)
    stored = totals.stored + sum(one.records_stored for one in live)
    there = totals.there + sum(one.records_there for one in live)
    share = (totals.ended + sum(one.share or 0.0 for one in live)) / batch.size
    elapsed_s = ((batch.ended_ms or view.now_ms) - batch.began_ms) / 1000
    since = share - batch.ended_before / batch.size
    rate, eta = 0.0, None
    if elapsed_s > 0 and not idle:
        rate = max(0, stored - there) / elapsed_s
        if not batch.ended and since > 0:
            eta = round((1 - share) * elapsed_s / since, 1)
    return batch_answers.BatchProgress(
        records_expected=expected,
        records_stored=stored,
        records_there=there,
        share=min(share, 1.0),
        rate=round(rate, 1),
        eta_seconds=eta,
    )
