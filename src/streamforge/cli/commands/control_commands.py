"""The commands `stop`, `handover`, `ping`, `rm` and `dlq list`: what is asked of a workflow."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
import typer

from streamforge.cli import command_options as o
from streamforge.cli import terminal
from streamforge.cli.client import Query, path_part, to_json
from streamforge.cli.command_errors import CliError
from streamforge.cli.commands.workflow_commands import messages_left
from streamforge.cli.follower import followed
from streamforge.cli.session import Mode, Session, session
from streamforge.manager import answers
from streamforge.manager.coverage import answers as data_answers
from streamforge_utils.model.daily_collections import by_base


async def stop(
    queue_id: o.QueueId,
    where: o.AtManager,
    detach: o.Detach = False,
    timeout_s: Annotated[
        float | None, typer.Option("--timeout", metavar="SECONDS", min=0.1, help="Give up waiting after this time.")
    ] = None,
    as_json: o.Json = False,
) -> int:
    """Stop a workflow in order, and wait until it has ended. What it has stored stays, and is in the coverage."""

    async def begin(found: Session) -> answers.Started:
        return await found.api.post(f"/queues/{path_part(queue_id)}/stop", answers.Started)

    if detach:
        async with session(where, Mode.SERVER) as found:
            workflow = await begin(found)
    else:
        where = where.as_before()  # if we have to be the manager, be the one it had
        try:
            async with asyncio.timeout(timeout_s):
                workflow = (await followed(where, begin, mode=Mode.CONTINUE, loads=False)).workflow
        except TimeoutError:
            raise CliError(
                f"{queue_id} has not ended within {timeout_s:g} s: it was asked to stop, see `streamforge show "
                f"{queue_id}{where.flags()}`"
            ) from None
    if as_json:
        terminal.write(to_json({"queue_id": workflow.queue_id, "status": workflow.status}))
    else:
        terminal.write(f"{workflow.queue_id} is {workflow.status}")
        for left in filter(None, map(messages_left, workflow.steps)):
            terminal.write(f"  {left}")
    return 0


async def handover(queue_id: o.QueueId, where: o.AtManager, as_json: o.Json = False) -> int:
    """Replace the loader of a live workflow by another attempt, without a gap; `show` reports the progress."""
    async with session(where, Mode.SERVER) as found:
        workflow = await found.api.post(f"/queues/{path_part(queue_id)}/handover", answers.Started)
    if as_json:
        terminal.write(to_json(workflow))
    else:
        terminal.write(f"{workflow.queue_id}: another attempt of its loader is made, and takes over once it is ready")
    return 0


async def ping(
    queue_id: o.QueueId,
    where: o.AtManager,
    wait_s: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", min=0.1, max=30, help="How long answers are waited for.")
    ] = 2.0,
    as_json: o.Json = False,
) -> int:
    """Ask each worker of a workflow whether it lives, and show how long its answer took. Needs a manager that runs.

    Exit code 1 if a worker that runs did not answer.
    """
    async with session(where, Mode.SERVER) as found:
        workflow = await found.api.get(f"/queues/{path_part(queue_id)}", answers.Started)
        if workflow.ended:
            raise CliError(f"{queue_id} has ended ({workflow.status}): it has no workers that could answer")
        path, query = f"/queues/{path_part(queue_id)}/ping", {"timeout_s": f"{wait_s:g}"}
        ping_ = await found.api.post(path, answers.Ping, query=query)
    running = {step.telemetry_id for step in workflow.steps if step.status == "running"}
    silent = [name for name, seconds in ping_.answers.items() if seconds is None and name in running]
    if as_json:
        terminal.write(to_json(ping_))
    else:
        for name, seconds in ping_.answers.items():
            if seconds is not None:
                terminal.write(f"{name}  {seconds * 1000:.1f} ms")
            else:
                terminal.write(f"{name}  " + ("no answer" if name in running else "does not run"))
    return 1 if silent else 0


async def rm(
    queue_id: o.QueueId,
    where: o.AtManager,
    data_too: Annotated[
        bool, typer.Option("--data-too", help="Remove its records and their coverage as well.")
    ] = False,
    yes: o.Yes = False,
    as_json: o.Json = False,
) -> int:
    """Forget an ended workflow; its records stay unless --data-too."""
    async with session(where, Mode.CHANGE) as found:
        workflow = await found.api.get(f"/queues/{path_part(queue_id)}", answers.Started)
        if not workflow.ended:
            state = terminal.state(workflow.status, workflow.undriven)
            raise CliError(
                f"{queue_id} is {state}: only an ended workflow can be removed, stop it first with "
                f"`streamforge stop {queue_id}{where.flags()}`"
            )
        if not yes:
            span = terminal.day_span(workflow.time_range.start_ms, workflow.time_range.end_ms)
            records = "the whole" if workflow.topic_input is not None else f"the records of {span} in"
            what = f"{records} {workflow.collection}" if data_too else "its history (the records stay)"
            o.confirm(f"Remove {queue_id} and {what}?", "rm asks before it removes", "nothing was removed")
        query = {"data": "true"} if data_too else None
        path = f"/queues/{path_part(queue_id)}"
        answer = await found.api.delete(path, query=query, prefer="return=representation")
        removed = found.api.read(answer, data_answers.Removed) if answer else None
    if as_json:
        told = {} if removed is None else msgspec.structs.asdict(removed)
        terminal.write(to_json({"removed": queue_id, "data": data_too, **told}))
    else:
        terminal.write(f"{queue_id} is removed{_told(workflow, removed, data_too=data_too)}")
    return 0


def _told(workflow: answers.Started, removed: data_answers.Removed | None, *, data_too: bool) -> str:
    """The outcome of its records."""
    if removed is None:
        return ""
    if workflow.topic_input is not None and not data_too:
        return f"; its documents stay in {workflow.collection}"
    if workflow.topic_input is not None:
        return f"; {terminal.records(removed.records_removed)} removed from {workflow.collection}"
    where = by_base(segment.collection or "" for segment in removed.staying)
    one = removed.records_staying == 1
    many = terminal.records(removed.records_staying)
    stay = f"{many} of its range stay{'s' if one else ''} in {', '.join(where)}"
    if not where:
        stay = "no record of its range is stored"
    if not data_too:
        return f"; {stay}"
    gone = f"; {terminal.records(removed.records_removed)} removed from {workflow.collection}"
    if not removed.records_removed:
        gone = f"; no record removed: {workflow.collection} holds none of its range"
    why = f": {'another workflow stored it' if one else 'other workflows stored them'} there"
    return f"{gone}; {stay}{why if where else ''}"


async def dlq_list(
    queue_id: o.QueueId,
    where: o.AtManager,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, max=1000, help="At most this many, the oldest.")
    ] = 100,
    after: Annotated[
        str | None, typer.Option("--after", metavar="PLACE", help="Continue after a listing that ended with this.")
    ] = None,
    as_json: o.Json = False,
) -> int:
    """List the records of a workflow that could not be stored, each with its reason."""
    asked: Query = {"limit": limit} | ({} if after is None else {"after": after})
    async with session(where, Mode.READ) as found:
        answer = await found.api.call("GET", f"/queues/{path_part(queue_id)}/dlq", query=asked)
        page = found.api.read(answer, data_answers.DeadLetters)
        letters = page.dead_letters
    if as_json:
        terminal.write(to_json(msgspec.json.decode(answer)))
        return 0
    if not letters:
        terminal.say(f"{queue_id} has no {'more ' if after else ''}dead letters")
        return 0
    terminal.table(
        ["offset", "attempt", "time", "reason", "key", "value"],
        [
            [
                str(letter.offset),
                str(letter.attempt),
                terminal.moment(letter.time),
                letter.reason,
                letter.key or "",
                letter.value[:60] + ("…" if len(letter.value) > 60 else ""),
            ]
            for letter in letters
        ],
        right=("offset", "attempt"),
    )
    if page.after is not None:
        terminal.say(f"there are more: streamforge dlq list {queue_id} --after {page.after}{where.flags()}")
    more = f" of {page.outstanding}" if page.outstanding > len(letters) else ""
    terminal.say(
        f"{len(letters)}{more} dead letter{'' if len(letters) == 1 else 's'}; once the cause is gone: streamforge dlq "
        f"replay {queue_id}{where.flags()}"
    )
    return 0
