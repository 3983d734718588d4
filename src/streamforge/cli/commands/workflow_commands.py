"""The commands `queues`, `show` and `events`: what is known of workflows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from streamforge.cli import command_options as o
from streamforge.cli import terminal
from streamforge.cli.client import PAGE, Query, path_part, to_json
from streamforge.cli.command_errors import UsageProblem
from streamforge.cli.coverage_text import (
    is_kept,
    load_command,
    no_longer,
    nothing_over,
    range_cell,
    range_text,
    show_segments,
    wait_command,
)
from streamforge.cli.live_text import live_lines
from streamforge.cli.progress import numbers, waits_for
from streamforge.cli.session import Mode, NothingThere, Where, session
from streamforge.cli.terminal import short
from streamforge.cli.topic_text import show_partitions, topic_line
from streamforge.manager import answers
from streamforge.manager.coverage import answers as data_answers
from streamforge.manager.handover_answers import Handover
from streamforge_utils.model.spelling import did_you_mean
from streamforge_utils.model.topic_reading import JSON_TYPE

if TYPE_CHECKING:
    from rich.text import Text

NARROW, NARROWER = 120, 85
_PARTS_SHOWN = 5
_ASKED_SHOWN = 5
STATUSES = ("pending", "running", "stopping", "finished", "interrupted", "error")


async def queues(
    where: o.AtManager,
    statuses: Annotated[
        list[str] | None,
        typer.Option("--status", metavar="STATUS", help="Only these (repeatable): pending, running, stopping, …"),
    ] = None,
    symbol: Annotated[str | None, typer.Option("--symbol", metavar="SYMBOL", help="Only this symbol.")] = None,
    type_name: Annotated[str | None, typer.Option("--type", metavar="TYPE", help="Only this type.")] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="KEY:VALUE", help="Only with this label (repeatable: all keys must fit)."),
    ] = None,
    search: Annotated[
        str | None,
        typer.Option("--search", metavar="TEXT", help="Only those whose name (wf-…) or symbol begins with this."),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, max=100_000, help="At most this many, the newest.")
    ] = 50,
    as_json: o.Json = False,
) -> int:
    """List workflows, newest first."""
    given = {"status": statuses, "symbol": symbol, "type": type_name, "label": labels, "search": search}
    filters: Query = {name: value for name, value in given.items() if value}
    for status in statuses or ():
        if status not in STATUSES:
            advice = did_you_mean(status, STATUSES) or f": choose from {', '.join(STATUSES)}"
            raise UsageProblem(f"status {status[:40]!r} is not known{advice}")
    try:
        async with session(where, Mode.READ) as found:
            raw, more = await found.api.pages("/queues", "queues", filters, limit)
    except NothingThere as error:
        if as_json:
            terminal.write('{"queues": []}')
        else:
            terminal.say(str(error))
        return 0
    if as_json:
        terminal.write(to_json({"queues": [msgspec.json.decode(item) for item in raw]}))
        return 0
    workflows = [msgspec.json.decode(item, type=answers.WorkflowSummary) for item in raw]
    if not workflows:
        terminal.say("no workflow fits" if filters else "there are no workflows")
        return 0
    names = ["queue_id", "status", "range", "stored", "of", "created"]
    if (width := terminal.columns()) < NARROW:  # a queue_id tells its day
        names = ["queue_id", "status", "stored", "of"] if width >= NARROWER else ["queue_id", "status", "stored"]
    cells = [_cells(workflow) for workflow in workflows]
    terminal.table(names, [[row[name] for name in names] for row in cells], right=("stored", "of"))
    if fewer := [workflow.queue_id for workflow in workflows if lacking(workflow)]:
        told = f"`streamforge show QUEUE_ID{where.flags()}` tells why"
        terminal.say(f"finished with fewer records than the range could hold: {terminal.first_of(fewer)}; {told}")
    if any(map(_waiting, workflows)):
        terminal.say("(+N): so many more are on their way; those of an order book count once their segment is closed")
    if alone := [workflow for workflow in workflows if workflow.undriven is not None]:
        terminal.say(all_undriven(alone, where, found.server))
    if more:
        terminal.say(f"the newest {limit} are shown; see more with --limit")
    return 0


def _cells(workflow: answers.WorkflowSummary) -> dict[str, str | Text]:
    waiting = f" (+{terminal.number(waits)})" if (waits := _waiting(workflow)) else ""
    return {
        "queue_id": workflow.queue_id,
        "status": _status(workflow),
        "range": range_cell(workflow) if workflow.type != JSON_TYPE else workflow.topic,
        "stored": terminal.number(workflow.progress.records_stored) + waiting,
        "of": terminal.number(workflow.progress.records_expected) or ("?" if workflow.live is None else ""),
        "created": terminal.moment(workflow.created_at),
    }


def _waiting(workflow: answers.WorkflowSummary) -> int:
    return 0 if workflow.live is None else workflow.live.records_waiting


def _status(workflow: answers.WorkflowSummary) -> Text:
    state = terminal.state(workflow.status, workflow.undriven)
    if workflow.live is not None and workflow.status == "running" and workflow.undriven is None:
        state = workflow.live.state
        if state == "behind" and workflow.live.behind_seconds is not None:
            state += f" {terminal.duration(workflow.live.behind_seconds)}"
    return terminal.styled(
        workflow.status, f"{state}, {terminal.number(few)} fewer" if (few := lacking(workflow)) else state
    )


def lacking(workflow: answers.WorkflowSummary) -> int:
    """How many records of the range a finished workflow does not have; 0 if it has not finished."""
    progress = workflow.progress
    finished = workflow.status == "finished" and progress.records_expected is not None
    return max(0, (progress.records_expected or 0) - progress.records_stored) if finished else 0


def undriven(workflow: answers.WorkflowSummary, where: Where, server: str | None = None) -> str:
    """That no manager drives a workflow, why, and what to do. server: of the manager that is there all the same."""
    alone = f"{workflow.queue_id} is not driven: {workflow.undriven}"
    if server is not None:
        return f"{alone}; see the log of the manager at {server}, or restart it"
    wait, up = wait_command(workflow.queue_id, where), f"`streamforge up{where.starting()}`"
    if workflow.status == "stopping":  # a load of the same would wait until it has ended
        return f"{alone}; bring it to its end with {wait} or {up}"
    if workflow.type == JSON_TYPE:
        return f"{alone}; continue it with {wait} or {up}"
    load = load_command((workflow.symbol, workflow.type, workflow.time_range.requested), where)
    return f"{alone}; continue it with {wait}, {load} or {up}"


def all_undriven(workflows: Sequence[answers.WorkflowSummary], where: Where, server: str | None = None) -> str:
    """As `undriven`, of one or more: the first, and the names of the others."""
    told, others = undriven(workflows[0], where, server), [one.queue_id for one in workflows[1:]]
    every = "" if server is not None else f"; `streamforge up{where.starting()}` continues all of them"
    if not others:
        return told
    return f"{told}\n{terminal.first_of(others)} {'is' if len(others) == 1 else 'are'} not driven either{every}"


async def show(queue_id: o.QueueId, where: o.AtManager, as_json: o.Json = False) -> int:
    """Show a workflow: its steps, their attempts, how far it is, and why it failed if it did."""
    async with session(where, Mode.READ) as found:
        answer = await found.api.call("GET", f"/queues/{path_part(queue_id)}")
        if as_json:
            terminal.write(to_json(msgspec.json.decode(answer)))
            return 0
        workflow = found.api.read(answer, answers.Started)
        coverage = await found.api.get(f"/queues/{path_part(queue_id)}/coverage", data_answers.Coverage)
    out = terminal.console()
    ended = f", ended {terminal.moment(workflow.ended_at)}" if workflow.ended_at else ""
    out.print(workflow.queue_id, _status(workflow))
    if workflow.topic_input is None:
        out.print(f"  {workflow.symbol} {workflow.type}, {range_text(workflow)}")
    else:
        out.print(f"  {topic_line(workflow, workflow.topic_input)}")
    if workflow.labels:
        out.print(f"  labels: {', '.join(f'{key}:{value}' for key, value in workflow.labels.items())}")
    out.print(f"  created {terminal.moment(workflow.created_at)}{ended} (UTC)")
    for one in workflow.asked[-_ASKED_SHOWN:]:
        out.print(f"  {one.request}: {terminal.moment(one.at)}, by {one.by}")
    if told := numbers(workflow):
        out.print(f"  {told}")
    if workflow.time_range.span is None and workflow.topic_input is None and workflow.live is None:
        out.print(f"  {nothing_over(workflow, where)}")
    if workflow.status == "finished" and not is_kept(coverage.segments) and workflow.topic_input is None:
        out.print(f"  {no_longer(workflow, where)}")
    for line in () if workflow.live is None else live_lines(workflow.live):
        out.print(f"  {line}")
    planned = workflow.parts if workflow.live is None else []
    for part in planned[:_PARTS_SHOWN]:
        why = f", {part.reason}" if part.reason else ""
        out.print(f"  planned: {terminal.day_span(part.start_ms, part.end_ms)} ({part.source}{why})")
    if more := len(planned[_PARTS_SHOWN:]):
        out.print(f"  planned: {more} more range{'' if more == 1 else 's'}")
    for remark in workflow.remarks[:_PARTS_SHOWN]:
        out.print(f"  careful: {remark}")
    if workflow.undriven is not None:
        out.print(f"  {undriven(workflow, where, found.server)}")
    elif waits := waits_for(workflow):
        out.print(f"  {waits}")
    if refused := workflow.progress.records_refused:
        out.print(
            f"  {terminal.records(refused)} could not be stored: see `streamforge dlq list "
            f"{workflow.queue_id}{where.flags()}`"
        )
    if workflow.repairs:
        out.print(f"  holes were loaded again {workflow.repairs} time{'' if workflow.repairs == 1 else 's'}")
    if workflow.failure is not None:
        out.print(f"  failed: {workflow.failure.reason}")
        if workflow.failure.next_step:
            out.print(f"  next: {workflow.failure.next_step}")
    for step in workflow.steps:
        if left := messages_left(step):
            out.print(f"  {left}")
        if step.handover is not None:
            out.print(f"  handover: {handover_text(step.target, step.handover)}")
    terminal.table(
        ["step", "status", "attempt", "records", "started", "ended", "how it ended"],
        [row for step in workflow.steps for row in step_rows(step, driven=workflow.undriven is None)],
        right=("attempt", "records"),
    )
    show_segments(coverage.segments)
    if workflow.topic_input is not None:
        show_partitions(workflow.topic_input)
    return 0


async def events(
    queue_id: o.QueueId,
    where: o.AtManager,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes, until the workflow has ended.")
    ] = False,
    every: Annotated[
        bool, typer.Option("--all", help="Also reports of progress and answers to pings. With --json they always are.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> int:
    """Show what the workers of a workflow said, oldest first: what changed, not each report of progress."""
    waits: dict[object, object] | None = None if every or as_json else {}
    async with session(where, Mode.READ) as found:
        after = -1
        more = True
        while more:
            query = {"after": after, "limit": PAGE}
            page = await found.api.get(f"/queues/{path_part(queue_id)}/events", answers.EventPage, query)
            for event in page.events:
                _tell_event(event.id, event.event, waits, as_json=as_json)
            more, after = page.more, page.after
        workflow = await found.api.get(f"/queues/{path_part(queue_id)}", answers.Started)
        if workflow.undriven is None and (reason := waits_for(workflow)):
            terminal.say(f"{queue_id} {reason}")
        if not follow:
            return 0
        if workflow.undriven is not None and found.own:
            terminal.say(f"nothing more will come: {undriven(workflow, where, found.server)}")
            return 0
        if workflow.undriven is not None:  # it may recover
            terminal.say(undriven(workflow, where, found.server))
        if found.own and not workflow.ended:
            terminal.say(f"a manager elsewhere drives {queue_id}: follow it there, with --server and its address")
            return 0
        async for number, body in found.api.follow(queue_id, after=after):
            _tell_event(number, msgspec.json.decode(body, type=dict[str, object]), waits, as_json=as_json)
        workflow = await found.api.get(f"/queues/{path_part(queue_id)}", answers.Started)
        terminal.say(f"{queue_id} is {workflow.status}")
    return 0


_FINDINGS = ("unloaded", "disputed")
"""What a worker reports beside its progress."""


def _tell_event(
    number: int, event: dict[str, object], waits: dict[object, object] | None = None, *, as_json: bool
) -> None:
    """waits: what each worker waited for last, to tell changes alone; None: everything is told."""
    if as_json:
        terminal.write(msgspec.json.encode({"id": number, "event": event}).decode())
        return
    extra = event.get("extra")
    extra = extra if isinstance(extra, dict) else {}
    reason = extra.get("waiting") if event.get("event") == "loading" else None
    if waits is not None and event.get("event") in ("loading", "pong"):
        before = waits.get(event.get("producer"))
        waits[event.get("producer")] = reason or before  # a reason that comes and goes is shown once
        if reason in (None, before) and not any(extra.get(name) for name in _FINDINGS):
            return
    stamp = event.get("timestamp")
    when = terminal.clock(float(stamp)) if isinstance(stamp, (int, float)) else ""
    records = event.get("records_written")
    told = [str(event.get("message") or ""), f"waits for {short(str(reason))}" if reason else ""]
    if event.get("error_message"):
        told.append(short(str(event["error_message"])))
    attempt = event.get("attempt", 1)
    who = f"{event.get('producer', '')}" + (f" (attempt {attempt})" if attempt != 1 else "")
    count = terminal.records(records) if isinstance(records, int) and records else ""
    rest = ", ".join(part for part in (count, *told) if part)
    terminal.write(f"{when}  {event.get('event', ''):<11} {who}{': ' if rest else ''}{rest}")


_ASKED = {"stop": "asked to stop", "stuck": "it was stuck"}


def handover_text(target: str, handover: Handover) -> str:
    """How far the handover of a loader is, and why it is made."""
    who = f" (attempt {handover.attempt})" if handover.attempt else ""
    trouble = f"; the one before: {handover.trouble}" if handover.trouble else ""
    return f"{target} {handover.state}{who}: {handover.reason}{trouble}"


def messages_left(step: answers.Step) -> str:
    """What a sink that could not say so itself has left unstored, and what to do; empty where that is nothing."""
    if not step.messages_left and not step.messages_left_at_least:
        return ""
    left = f"how many messages {step.target} has left unstored is not known"
    if step.messages_left:
        least = "at least " if step.messages_left_at_least else ""
        left = f"{step.target} has left {least}{terminal.number(step.messages_left)} messages unstored"
    return f"{left}: a retry loads what is missing"


def step_rows(step: answers.Step, *, driven: bool = True) -> list[list[str | Text]]:
    """A row for each attempt with what that one did; where there are several, one with what they did together.

    driven: a manager makes the next attempt, and knows whether the latest one still runs.
    """
    rows = [
        _attempt_row(step, attempt, driven=driven)
        for attempt in step.attempts or [answers.Attempt(number=0, status=step.status)]
    ]
    latest = step.attempts[-1] if step.attempts else None
    if driven and step.status == "waiting" and latest and latest.ended_at and latest.status != "finished":
        rows[-1][-1] = f"{rows[-1][-1]}; it is tried again".removeprefix("; ")
    if len(step.attempts) > 1:
        known = driven or bool(latest and latest.ended_at)
        rows.append(["", _state(step.status, known=known), "all", terminal.number(step.records), "", "", ""])
    return rows


def _state(status: str, *, known: bool) -> Text:
    """known: whether a manager saw it, or sees it now."""
    return terminal.styled(status, None if known else f"{status}, not driven")


def _attempt_row(step: answers.Step, attempt: answers.Attempt, *, driven: bool) -> list[str | Text]:
    first = not step.attempts or attempt.number == step.attempts[0].number
    # What one that stopped in order said tells what it has left.
    said = attempt.message if attempt.last_word == "interrupted" else ""
    how = attempt.error or attempt.reason or said or _ASKED.get(attempt.stop_reason or "", "")
    if not how and attempt.ended_at:
        how = attempt.last_word or ""
    return [
        step.target if first else "",
        _state(attempt.status, known=driven or bool(attempt.ended_at) or not attempt.number),
        str(attempt.number or ""),
        terminal.number(attempt.progress.records if attempt.number else None),
        terminal.moment(attempt.started_at),
        terminal.moment(attempt.ended_at),
        short(how)[:200],
    ]
