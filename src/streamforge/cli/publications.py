"""What the commands of graphs and of models share: both are made by a workflow, listed, shown and removed by name.

noun: `graph` or `model`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec

from streamforge.cli import command_options, terminal
from streamforge.cli.client import path_part, to_json
from streamforge.cli.commands.load_commands import detached, to_the_end
from streamforge.cli.session import Mode, NothingThere, Session, Where, session
from streamforge.manager import answers, graph_answers, model_answers

T = TypeVar("T", bound=msgspec.Struct)
R = TypeVar("R", graph_answers.RemovedGraph, model_answers.RemovedModel)


async def driven(
    where: Where,
    start: Callable[[Session], Awaitable[answers.Started]],
    *,
    detach: bool,
    timeout_s: float | None,
    as_json: bool,
    loads: bool,
) -> int:
    """Start a workflow, and go along with it to its end unless `detach`; the exit code."""
    if detach:
        return await detached(where, start, as_json=as_json, loads=loads)
    return await to_the_end(where, start, timeout_s=timeout_s, as_json=as_json, loads=loads)


async def listed(where: Where, noun: str, form: type[T], limit: int, *, as_json: bool, how: str) -> Sequence[T]:
    """Those to be shown as a table. Empty: they are printed as JSON, or there are none, which is said.

    how: the command that makes one.
    """
    raw: list[msgspec.Raw] = []
    try:
        async with session(where, Mode.READ) as found:
            raw, _ = await found.api.pages(f"/{noun}s", f"{noun}s", None, limit)
    except NothingThere as error:
        if not as_json:
            terminal.say(str(error))
    if as_json:
        terminal.write(to_json({f"{noun}s": [msgspec.json.decode(one) for one in raw]}))
        return ()
    if not raw:
        terminal.say(f"there are no {noun}s: {how}")
    return [msgspec.json.decode(one, type=form) for one in raw]


async def named(where: Where, noun: str, name: str, form: type[T], *, as_json: bool) -> T | None:
    """The one of that name; None: it is printed as JSON."""
    async with session(where, Mode.READ) as found:
        answer = await found.api.call("GET", f"/{noun}s/{path_part(name)}")
    if as_json:
        terminal.write(to_json(msgspec.json.decode(answer)))
        return None
    return found.api.read(answer, form)


async def removed(where: Where, noun: str, name: str, form: type[R], *, yes: bool, what: str, command: str) -> int:
    """Remove it with `what`, once a person has said so; the exit code."""
    if not yes:
        command_options.confirm(f"Remove {noun} {name} with {what}?", f"`{command}` asks first", "nothing was removed")
    async with session(where, Mode.DRIVE) as found:
        answer = await found.api.call("DELETE", f"/{noun}s/{path_part(name)}")
    told = found.api.read(answer, form)
    terminal.say(f"{noun} {name} is removed, with {terminal.many(told.objects_removed, 'object')}")
    return 0
