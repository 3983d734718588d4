"""What the commands of graphs and of models share: both are made by a workflow, listed, shown and removed by name.
Others that send a request or list something do it in the same way.

noun: `graph` or `model`; of `listed` also `topic`.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec

from streamforge.cli import command_options, terminal
from streamforge.cli.client import path_part, to_json
from streamforge.cli.session import Mode, NothingThere, Session, Where, session
from streamforge.manager.graphs import answers as graph_answers
from streamforge.manager.models import answers as model_answers

T = TypeVar("T", bound=msgspec.Struct)
R = TypeVar("R", graph_answers.RemovedGraph, model_answers.RemovedModel)


def posting(path: str, form: type[T], /, **body: Any) -> Callable[[Session], Awaitable[T]]:
    """Sends what of `body` is named; sending again after a lost answer gives the same."""
    given = {name: value for name, value in body.items() if value is not None}

    async def start(found: Session) -> T:
        return await found.api.post(path, form, body=given, key=secrets.token_hex(16))

    return start


async def listed(
    where: Where, noun: str, form: type[T], limit: int, *, as_json: bool, how: str = "", **more_asked: Any
) -> tuple[Sequence[T], bool]:
    """Those to be shown as a table, and whether there are more. Empty: they are printed as JSON, or there are none,
    which is said.

    how: the command that makes one, if one does. more_asked: as `Api.pages` takes it.
    """
    raw, more = list[msgspec.Raw](), False
    try:
        async with session(where, Mode.READ) as found:
            raw, more = await found.api.pages(f"/{noun}s", f"{noun}s", limit=limit, **more_asked)
    except NothingThere as error:
        if not as_json:
            terminal.say(str(error))
    if as_json:
        terminal.write(to_json({f"{noun}s": [msgspec.json.decode(one) for one in raw]}))
        return (), False
    if not raw:
        terminal.say(f"there are no {noun}s{how and f': {how}'}")
    return [msgspec.json.decode(one, type=form) for one in raw], more


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
