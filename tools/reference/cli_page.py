"""The page of the command line, from the commands themselves."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from streamforge.cli.main import root, usage_of
from streamforge.cli.terminal import PROGRAM

_INTRODUCTION = """\
# Command line

`streamforge COMMAND --help` shows the same. `python -m streamforge.cli` is `streamforge`.

What a command prints for programs goes to stdout, everything else to stderr. Exit codes: 0 it worked (for `load`:
finished, which means stored and proven) · 1 it did not, and the message says why and what to do · 2 the command or a
setting must change · 130 Ctrl-C. A list (`queues`, `series`, `symbols`, `dlq list`) in which nothing fits is an answer,
so 0; a workflow, series or collection that is named and not there is 1. A bar moves only on a terminal; `NO_COLOR` is
obeyed.

A command that needs a manager takes the one at `--server`, else the one that runs on the data directory, else it runs
its own for as long as it takes. Commands that only show something never start or move a workflow.

A data directory holds data of one exchange: what the test exchange made up is never mixed with Binance's, nor with
what one of another seed made up. The first load that is accepted says which one it is.

## Common options"""

_COMMON = ("--data", "--server", "--token-file", "--exchange", "--json", "--debug")


def cli_page() -> str:
    """Markdown."""
    commands = root.imported()
    common = {option.opts[0]: option for name in ("targets", "load") for option in _options(commands[name])}
    common = {name: common[name] for name in _COMMON}
    parts = [_INTRODUCTION, _table(common.values())]
    known = {_meaning(option) for option in common.values()}
    for path, command in _commands(root, ()):
        parts.extend(_section(path, command, known))
    return "\n\n".join(parts) + "\n"


def _commands(group: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.imported().items():
        if hasattr(command, "imported"):
            yield from _commands(command, (*path, name))
        else:
            yield (*path, name), command


def _section(path: tuple[str, ...], command: Any, known: Collection[tuple[str, str, object]]) -> Iterator[str]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    usage = " ".join([PROGRAM, *path, *(usage_of(p) for p in arguments), "[OPTIONS]"])
    yield f"## {' '.join(path)}"
    yield f"```\n{usage}\n```"
    yield _text(command.help)
    described = [f"- `{_bare(p)}`: {_text(p.help)}" for p in arguments if p.help]
    if described:
        yield "\n".join(described)
    options = _options(command)
    common = [option for option in options if _meaning(option) in known]
    if own := [option for option in options if option not in common]:
        yield _table(own)
    yield "Common options: " + ", ".join(f"`{option.opts[0]}`" for option in common) + "."


def _options(command: Any) -> list[Any]:
    return [p for p in command.params if p.param_type_name == "option" and not p.hidden]


def _meaning(option: Any) -> tuple[str, str, object]:
    """By which it is told from another option of the same name."""
    return option.opts[0], str(option.help), option.show_default


def _table(options: Iterable[Any]) -> str:
    rows = ["| option | default | meaning |", "|---|---|---|"]
    for option in options:
        cells = (_option(option), _default(option), " ".join(_text(option.help).split()))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def _bare(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _option(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in option.opts)
    value = "" if option.is_flag else f" `{option.metavar or option.name.upper()}`"
    return f"{names}{value}"


def _default(option: Any) -> str:
    if isinstance(option.show_default, str):
        return option.show_default
    if option.is_flag or option.default in (None, [], ()):
        return ""
    default = option.default
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def _text(text: str | None) -> str:
    return inspect.cleandoc(text or "")
