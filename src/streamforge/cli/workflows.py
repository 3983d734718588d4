"""What the commands about workflows do: show, follow, stop and remove them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from streamforge.cli import output
from streamforge.cli.client import path_part, to_json
from streamforge.cli.errors import ApiProblem, CliError, UsageProblem
from streamforge.cli.following import Follower
from streamforge.cli.interrupts import interrupts
from streamforge.cli.loading import no_longer, nothing_over, show_segments
from streamforge.cli.progress import display, numbers, waits_for
from streamforge.cli.reasons import short
from streamforge.cli.session import Mode, NothingThere, Session, Where, session
from streamforge.cli.steps import messages_left, step_rows
from streamforge.manager import answers, data_answers
from streamforge_utils.model.spelling import did_you_mean

if TYPE_CHECKING:
    from rich.text import Text

PAGE = 1000
NARROW, NARROWER = 120, 85
STATUSES = ("pending", "running", "stopping", "finished", "interrupted", "error")


async def queues(
    where: Where,
    *,
    statuses: Sequence[str],
    symbol: str | None,
    type_name: str | None,
    limit: int,
    as_json: bool,
) -> int:
    """List workflows, newest first."""
    for status in statuses:
        if status not in STATUSES:
            advice = did_you_mean(status, STATUSES) or f": choose from {', '.join(STATUSES)}"
            raise UsageProblem(f"status {status[:40]!r} is not known{advice}")
    raw, more = list[msgspec.Raw](), False
    try:
        async with session(where, Mode.READ) as found:
            cursor: str | None = None
            while len(raw) < limit:
                query: dict[str, str | int | list[str]] = {"limit": min(PAGE, limit - len(raw))}
                filters = {"symbol": symbol, "type": type_name, "cursor": cursor}
                query.update({name: value for name, value in filters.items() if value is not None})
                if statuses:
                    query["status"] = list(statuses)
                page = await found.api.get("/queues", _RawPage, query)
                raw.extend(page.queues)
                cursor, more = page.cursor, page.cursor is not None
                if cursor is None:
                    break
    except NothingThere as error:
        if as_json:
            output.write('{"queues": []}')
        else:
            output.say(str(error))
        return 0
    if as_json:
        output.write(to_json({"queues": [msgspec.json.decode(item) for item in raw]}))
        return 0
    workflows = [msgspec.json.decode(item, type=answers.WorkflowSummary) for item in raw]
    if not workflows:
        output.say("no workflow fits" if statuses or symbol or type_name else "there are no workflows")
        return 0
    names = ["queue_id", "status", "range", "stored", "of", "created"]
    if (width := output.columns()) < NARROW:  # a queue_id tells its day
        names = ["queue_id", "status", "stored", "of"] if width >= NARROWER else ["queue_id", "status", "stored"]
    cells = [_cells(workflow) for workflow in workflows]
    output.table(names, [[row[name] for name in names] for row in cells], right=("stored", "of"))
    if alone := [workflow for workflow in workflows if workflow.undriven is not None]:
        output.say(all_undriven(alone, where, found.server))
    if more:
        output.say(f"the newest {limit} are shown; see more with --limit")
    return 0


def _cells(workflow: answers.WorkflowSummary) -> dict[str, str | Text]:
    return {
        "queue_id": workflow.queue_id,
        "status": _status(workflow),
        "range": output.span(workflow.time_range.start_ms, workflow.time_range.end_ms),
        "stored": output.number(workflow.progress.records_stored),
        "of": output.number(workflow.progress.records_expected) or "?",
        "created": output.moment(workflow.created_at),
    }


def _status(workflow: answers.WorkflowSummary) -> Text:
    return output.styled(workflow.status, output.state(workflow.status, workflow.undriven))


def undriven(workflow: answers.WorkflowSummary, where: Where, server: str | None = None) -> str:
    """That no manager drives a workflow, why, and what to do. server: of the manager that is there all the same."""
    alone = f"nobody drives {workflow.queue_id}: {workflow.undriven}"
    if server is not None:
        return f"{alone}; see the log of the manager at {server}, or restart it"
    wait, up = f"`streamforge wait {workflow.queue_id}{where.flags()}`", f"`streamforge up{where.starting()}`"
    if workflow.status == "stopping":  # a load of the same would wait until it has ended
        return f"{alone}; bring it to its end with {wait} or {up}"
    load = f"`streamforge load {workflow.symbol} {workflow.type} {workflow.time_range.requested}{where.starting()}`"
    return f"{alone}; continue it with {wait}, {load} or {up}"


def all_undriven(workflows: Sequence[answers.WorkflowSummary], where: Where, server: str | None = None) -> str:
    """As `undriven`, of one or more: the first, and the names of the others."""
    told, others = undriven(workflows[0], where, server), [one.queue_id for one in workflows[1:]]
    every = "" if server is not None else f"; `streamforge up{where.starting()}` continues all of them"
    return f"{told}\nnor does anybody drive {output.first_of(others)}{every}" if others else told


class _RawPage(msgspec.Struct):
    queues: list[msgspec.Raw]
    cursor: str | None = None


async def show(queue_id: str, where: Where, *, as_json: bool) -> int:
    """Show a workflow with its steps and attempts."""
    async with session(where, Mode.READ) as found:
        answer = await found.api.call("GET", f"/queues/{path_part(queue_id)}")
        if as_json:
            output.write(to_json(msgspec.json.decode(answer)))
            return 0
        workflow = found.api.read(answer, answers.Started)
        coverage = await found.api.get(f"/queues/{path_part(queue_id)}/coverage", data_answers.Coverage)
    asked = workflow.time_range
    out = output.console()
    words = output.asked_for(asked.requested, clipped=asked.clipped)
    ended = f", ended {output.moment(workflow.ended_at)}" if workflow.ended_at else ""
    out.print(workflow.queue_id, _status(workflow))
    out.print(f"  {workflow.symbol} {workflow.type}, {output.day_span(asked.start_ms, asked.end_ms)}{words}")
    out.print(f"  created {output.moment(workflow.created_at)}{ended} (UTC)")
    if told := numbers(workflow):
        out.print(f"  {told}")
    if asked.span is None:
        out.print(f"  {nothing_over(workflow, where)}")
    if workflow.status == "finished" and not coverage.complete:
        out.print(f"  {no_longer(workflow, where)}")
    if workflow.undriven is not None:
        out.print(f"  {undriven(workflow, where, found.server)}")
    elif waits := waits_for(workflow):
        out.print(f"  {waits}")
    if refused := workflow.progress.records_refused:
        out.print(
            f"  {output.records(refused)} could not be stored: see `streamforge dlq list "
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
            out.print(f"  {left}: a retry loads what is missing")
    output.table(
        ["step", "status", "attempt", "records", "started", "ended", "how it ended"],
        [row for step in workflow.steps for row in step_rows(step, driven=workflow.undriven is None)],
        right=("attempt", "records"),
    )
    show_segments(coverage.segments)
    return 0


async def events(queue_id: str, where: Where, *, follow: bool, as_json: bool) -> int:
    """What the workers of a workflow said; with `follow` also what they go on to say, until its end."""
    async with session(where, Mode.READ) as found:
        after = -1
        more = True
        while more:
            query = {"after": after, "limit": PAGE}
            page = await found.api.get(f"/queues/{path_part(queue_id)}/events", answers.EventPage, query)
            for event in page.events:
                _tell_event(event.id, event.event, as_json=as_json)
            more, after = page.more, page.after
        if not follow:
            return 0
        workflow = await found.api.get(f"/queues/{path_part(queue_id)}", answers.Started)
        if workflow.undriven is not None and found.own:
            output.say(f"nothing more will come: {undriven(workflow, where, found.server)}")
            return 0
        if workflow.undriven is not None:  # it may recover
            output.say(undriven(workflow, where, found.server))
        if found.own and not workflow.ended:
            output.say(f"a manager elsewhere drives {queue_id}: follow it there, with --server and its address")
            return 0
        async for number, body in found.api.follow(queue_id, after=after):
            _tell_event(number, msgspec.json.decode(body, type=dict[str, object]), as_json=as_json)
        workflow = await found.api.get(f"/queues/{path_part(queue_id)}", answers.Started)
        output.say(f"{queue_id} is {workflow.status}")
    return 0


def _tell_event(number: int, event: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        output.write(msgspec.json.encode({"id": number, "event": event}).decode())
        return
    stamp = event.get("timestamp")
    when = output.clock(float(stamp)) if isinstance(stamp, (int, float)) else ""
    records = event.get("records_written")
    told = [str(event.get("message") or "")]
    if event.get("error_message"):
        told.append(short(str(event["error_message"])))
    attempt = event.get("attempt", 1)
    who = f"{event.get('producer', '')}" + (f" (attempt {attempt})" if attempt != 1 else "")
    count = output.records(records) if isinstance(records, int) and records else ""
    rest = ", ".join(part for part in (count, *told) if part)
    output.write(f"{when}  {event.get('event', ''):<11} {who}{': ' if rest else ''}{rest}")


async def stop(queue_id: str, where: Where, *, wait: bool, timeout_s: float | None, as_json: bool) -> int:
    """Stop a workflow in order, and wait for its end."""

    async def begin(found: Session) -> answers.Started:
        return found.api.read(await found.api.call("POST", f"/queues/{path_part(queue_id)}/stop"), answers.Started)

    if wait:
        where = where.as_before()  # if we have to be the manager, be the one it had
        with interrupts() as asked, display() as shown:
            following = Follower(asked, shown, timeout_s=None, mode=Mode.CONTINUE, loads=False)
            try:
                async with asyncio.timeout(timeout_s):
                    workflow, _ = await following.begin(where, begin)
            except TimeoutError:
                raise CliError(
                    f"{queue_id} has not ended within {timeout_s:g} s: it was asked to stop, see `streamforge show "
                    f"{queue_id}{where.flags()}`"
                ) from None
    else:
        async with session(where, Mode.SERVER) as found:
            workflow = await begin(found)
    if as_json:
        output.write(to_json({"queue_id": workflow.queue_id, "status": workflow.status}))
    else:
        output.write(f"{workflow.queue_id} is {workflow.status}")
    return 0


async def ping(queue_id: str, where: Where, *, wait_s: float, as_json: bool) -> int:
    """Ask each worker of a workflow whether it lives; 1 if one of those that should did not answer."""
    async with session(where, Mode.SERVER) as found:
        workflow = await found.api.get(f"/queues/{path_part(queue_id)}", answers.Started)
        if workflow.ended:
            raise CliError(f"{queue_id} has ended ({workflow.status}): it has no workers that could answer")
        answer = await found.api.call("POST", f"/queues/{path_part(queue_id)}/ping", query={"timeout_s": f"{wait_s:g}"})
        ping_ = found.api.read(answer, answers.Ping)
    running = {step.telemetry_id for step in workflow.steps if step.status == "running"}
    silent = [name for name, seconds in ping_.answers.items() if seconds is None and name in running]
    if as_json:
        output.write(to_json(ping_))
    else:
        for name, seconds in ping_.answers.items():
            if seconds is not None:
                output.write(f"{name}  {seconds * 1000:.1f} ms")
            else:
                output.write(f"{name}  " + ("no answer" if name in running else "does not run"))
    return 1 if silent else 0


async def remove(queue_id: str, where: Where, *, data: bool, yes: bool, as_json: bool) -> int:
    """Forget an ended workflow, with `data` also its records."""
    async with session(where, Mode.CHANGE) as found:
        workflow = await found.api.get(f"/queues/{path_part(queue_id)}", answers.Started)
        if not workflow.ended:
            state = output.state(workflow.status, workflow.undriven)
            raise CliError(
                f"{queue_id} is {state}: only an ended workflow can be removed, stop it first with "
                f"`streamforge stop {queue_id}{where.flags()}`"
            )
        if not yes:
            _confirm(workflow, data=data)
        query = {"data": "true"} if data else None
        path, removed = f"/queues/{path_part(queue_id)}", None
        try:
            answer = await found.api.call("DELETE", path, query=query, prefer="return=representation")
            removed = found.api.read(answer, data_answers.Removed) if answer else None
        except ApiProblem as error:
            if error.kind != "not-found":  # a first try whose answer was lost
                raise
    if as_json:
        told = {} if removed is None else msgspec.to_builtins(removed)
        told.pop("queue_id", None)
        output.write(to_json({"removed": queue_id, "data": data, **told}))
    else:
        output.write(f"{queue_id} is removed{_told(workflow, removed, data=data)}")
    return 0


def _told(workflow: answers.Started, removed: data_answers.Removed | None, *, data: bool) -> str:
    """What became of its records."""
    if removed is None:
        return ""
    where = sorted({segment.collection or "" for segment in removed.staying})
    one = removed.records_staying == 1
    many = output.records(removed.records_staying)
    stay = f"{many} of its range stay{'s' if one else ''} in {', '.join(where)}"
    if not where:
        stay = "no record of its range is stored"
    if not data:
        return f"; {stay}"
    gone = f"; {output.records(removed.records_removed)} removed from {workflow.collection}"
    if not removed.records_removed:
        gone = f"; no record removed: {workflow.collection} holds none of its range"
    why = f": {'another workflow stored it' if one else 'other workflows stored them'} there"
    return f"{gone}; {stay}{why if where else ''}"


def _confirm(workflow: answers.Started, *, data: bool) -> None:
    import typer

    if not sys.stdin.isatty():
        raise UsageProblem("rm asks before it removes, and nobody can answer here: add --yes")
    span = output.day_span(workflow.time_range.start_ms, workflow.time_range.end_ms)
    what = f"the records of {span} in {workflow.collection}" if data else "its history (the records stay)"
    if not typer.confirm(f"Remove {workflow.queue_id} and {what}?", err=True):
        raise CliError("nothing was removed")


async def dead_letters(queue_id: str, where: Where, *, limit: int, as_json: bool) -> int:
    """What of a workflow could not be stored, and why."""
    async with session(where, Mode.READ) as found:
        answer = await found.api.call("GET", f"/queues/{path_part(queue_id)}/dlq", query={"limit": limit})
        page = found.api.read(answer, data_answers.DeadLetters)
        letters = page.dead_letters
    if as_json:
        output.write(to_json(msgspec.json.decode(answer)))
        return 0
    if not letters:
        output.say(f"{queue_id} has no dead letters")
        return 0
    output.table(
        ["offset", "attempt", "time", "reason", "key", "value"],
        [
            [
                str(letter.offset),
                str(letter.attempt),
                output.moment(letter.time),
                letter.reason,
                letter.key or "",
                letter.value[:60] + ("…" if len(letter.value) > 60 else ""),
            ]
            for letter in letters
        ],
        right=("offset", "attempt"),
    )
    more = f" of {page.outstanding}" if page.outstanding > len(letters) else ""
    output.say(
        f"{len(letters)}{more} dead letter{'' if len(letters) == 1 else 's'}; once the cause is gone: streamforge dlq "
        f"replay {queue_id}{where.flags()}"
    )
    return 0
