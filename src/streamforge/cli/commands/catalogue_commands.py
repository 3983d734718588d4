"""The commands `targets` and `schemas`: what this version knows, or the manager at --server or on --data."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from streamforge.cli import command_options as o
from streamforge.cli import terminal
from streamforge.cli.client import path_part, to_json
from streamforge.cli.command_errors import UsageProblem
from streamforge.cli.session import Mode, Where, data_folder, session
from streamforge.manager.catalogue import answers as catalogue_answers
from streamforge.manager.catalogue import schemas as known
from streamforge_utils.model.spelling import did_you_mean


async def targets(where: o.AtManager, as_json: o.Json = False) -> int:
    """List the kinds of workers and their parameters."""
    if _somebody_serves(where):
        async with session(where, Mode.SERVER) as found:
            answer: object = await found.api.get("/targets", dict[str, Any])
    else:
        answer = _known_targets()
    if as_json:
        terminal.write(to_json(answer))
        return 0
    listed = msgspec.convert(answer, catalogue_answers.Targets).targets
    terminal.table(
        ["target", "role", "types", "what it does", "parameters"],
        [
            [
                target.target,
                target.role,
                ", ".join(f"{name}…" if name.endswith("_") else name for name in target.types),
                target.summary,
                ", ".join(_parameters(target.parameters)),
            ]
            for target in listed
        ],
    )
    return 0


def _somebody_serves(where: Where) -> bool:
    """Whether to ask a manager; else this version of the command speaks for itself."""
    where.check()
    return where.server is not None or (where.data is not None and data_folder(where.folder).server() is not None)


def _known_targets() -> Any:
    return msgspec.to_builtins(catalogue_answers.targets_answer())


def _parameters(schema: dict[str, Any]) -> list[str]:
    properties = schema.get("properties") or {}
    return [
        f"{name}={value['default']}" if isinstance(value, dict) and "default" in value else name
        for name, value in properties.items()
    ]


async def schemas(
    where: o.AtManager,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Print the JSON Schema of this message.")] = None,
    as_json: o.Json = False,
) -> int:
    """List the messages that travel on the topics, or print the JSON Schema of one."""
    if _somebody_serves(where):
        async with session(where, Mode.SERVER) as found:
            path = "/schemas" if name is None else f"/schemas/{path_part(name)}"
            answer: dict[str, Any] = await found.api.get(path, dict[str, Any])
    else:
        answer = _known_schemas(name)
    if name is not None or as_json:
        terminal.write(to_json(answer))
        return 0
    listed = msgspec.convert(answer, catalogue_answers.Schemas).schemas
    terminal.table(["name", "what it is"], [[entry.name, entry.description] for entry in listed])
    return 0


def _known_schemas(name: str | None) -> Any:
    if name is None:
        return msgspec.to_builtins(catalogue_answers.schemas_answer())
    found = known.message_schemas()
    if name not in found:
        advice = did_you_mean(name, tuple(found)) or f": choose one of {', '.join(found)}"
        raise UsageProblem(f"there is no schema {name[:80]!r}{advice}")
    return found[name]
