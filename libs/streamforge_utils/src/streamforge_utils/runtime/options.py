"""A worker's parameters as options of its command line: the environment's names, spelled as options are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.runtime.environment import Variable, plain, type_name, variables
from streamforge_utils.runtime.worker_definition import Definition

P = TypeVar("P", bound=msgspec.Struct)

_DEBUG = "--debug"


def options_of(definition: Definition[P]) -> dict[str, Variable]:
    """The parameters of `definition` by their option: `--fail-after` is `fail_after`."""
    return {f"--{item.field.replace('_', '-')}": item for item in variables(definition.parameters)}


def environment_of(definition: Definition[P], arguments: Sequence[str]) -> dict[str, str]:
    """The variables that `arguments` set: `--fail-after 3`, `--fail-after=3`, `--noop`.

    Values are checked where the environment is read. Raises InvalidInput naming what is no option, or lacks its value.
    """
    known = options_of(definition)
    found: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        option, equals, value = rest.pop(0).partition("=")
        if option == _DEBUG and not equals:
            found["STREAMFORGE_DEBUG"] = "true"
        elif option not in known:
            raise InvalidInput("option", f"{option[:80]!r} is no option of {definition.target}")
        elif equals:
            found[known[option].name] = value
        elif plain(known[option].hint) is bool:
            found[known[option].name] = "true"
        elif rest:
            found[known[option].name] = rest.pop(0)
        else:
            raise InvalidInput("option", f"{option} needs a value: {type_name(known[option].hint)}")
    return found


def help_text(definition: Definition[P], usage: str) -> str:
    """What the target does and which options it has."""
    rows = [(_DEBUG, "log also what is only of use to find a fault")]
    for option, item in options_of(definition).items():
        word = item.unit.upper() if item.unit.isalpha() else "VALUE"
        value = "" if plain(item.hint) is bool else f" {word}"
        default = f" (default {item.default})" if item.default and value else ""
        unit = f" [{item.unit}]" if item.unit and word == "VALUE" else ""
        rows.append((option + value, f"{item.meaning}{unit}{default}"))
    width = max(len(left) for left, _ in rows)
    lines = [f"  {left:<{width}}  {right}" for left, right in rows]
    return "\n".join([f"usage: {usage}", f"{definition.target} {definition.summary}.", "", *lines])
