"""The command `logs`: what the processes of a workflow wrote."""

from __future__ import annotations

from asyncio import sleep as wait
from typing import Annotated

import msgspec
import typer

from streamforge.cli import command_options as o
from streamforge.cli import terminal
from streamforge.cli.client import Query, path_part
from streamforge.cli.commands.workflow_commands import undriven
from streamforge.cli.session import Mode, session
from streamforge.manager import answers
from streamforge.manager.logs import answers as log_answers

LOOK_EVERY_S = 1.0


async def logs(
    queue_id: o.QueueId,
    where: o.AtManager,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes, until the workflow has ended.")
    ] = False,
    step: Annotated[
        str | None, typer.Option("--step", metavar="TARGET", help="Of this step alone, as `show` names it.")
    ] = None,
    attempt: Annotated[
        int | None, typer.Option("--attempt", metavar="N", min=1, help="Of this attempt instead of the newest.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> int:
    """Show the end of what each step's process wrote, also when it is gone: 500 lines or 64 KiB of each attempt."""
    given: Query = {name: value for name, value in (("step", step), ("attempt", attempt)) if value is not None}
    path = f"/queues/{path_part(queue_id)}"
    async with session(where, Mode.READ) as found:
        known: set[tuple[str, int]] = set()
        page = await found.api.get(f"{path}/logs", log_answers.Logs, given)
        while True:
            for one in page.logs:
                _tell(one, known, alone=step is not None, as_json=as_json)
            if not follow or page.ended:
                break
            workflow = await found.api.get(path, answers.Started)
            if workflow.undriven is not None and found.own:
                terminal.say(f"nothing more will come: {undriven(workflow, where, found.server)}")
                return 0
            await wait(LOOK_EVERY_S)
            page = await found.api.get(f"{path}/logs", log_answers.Logs, {**given, "after": page.after})
    if not page.logs:
        terminal.say(f"{queue_id} has no attempts yet")
    return 0


def _tell(one: log_answers.AttemptLog, known: set[tuple[str, int]], *, alone: bool, as_json: bool) -> None:
    """known: the attempts of which something was told; what is new of one of these follows it, or begins anew."""
    who = f"{one.step} (attempt {one.attempt})"
    if as_json:
        for line in (one.text or "").splitlines():
            terminal.write(msgspec.json.encode({"step": one.step, "attempt": one.attempt, "line": line}).decode())
        return
    first = (one.step, one.attempt) not in known
    known.add((one.step, one.attempt))
    if one.text is None:
        if first and one.ended:
            terminal.say(f"{who}: there is no log, it was gone before it could be kept")
        return
    if first and not one.text and one.ended:
        terminal.say(f"{who} wrote nothing")
    if not first and not one.resumed and one.text:
        terminal.say(f"{who}: some lines between these were not seen")
    if first and one.text:
        terminal.say(f"{who}:")
    prefix = "" if alone else f"{one.step}: "
    for line in one.text.splitlines():
        terminal.write(f"{prefix}{line}")
