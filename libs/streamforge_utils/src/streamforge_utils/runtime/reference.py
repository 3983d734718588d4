"""The environment of a worker as a table for its README, from the same fields that read it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from streamforge_utils.runtime.environment import Variable, type_name, variables
from streamforge_utils.runtime.settings import WorkerSettings
from streamforge_utils.runtime.worker_definition import Definition

P = TypeVar("P", bound=msgspec.Struct)


def environment_table(definition: Definition[P]) -> str:
    """A Markdown table of every variable that the worker reads, its parameters last; ends in a newline."""
    common = (
        msgspec.structs.replace(
            row, required=False, shown=definition.defaults[row.name].replace("{QUEUE_ID}", "QUEUE_ID")
        )
        if row.name in definition.defaults
        else row
        for row in variables(WorkerSettings, uses=definition.uses)
    )
    return table([*common, *variables(definition.parameters)])


def table(rows: Iterable[Variable]) -> str:
    """A Markdown table of `rows`; ends in a newline."""
    lines = ["| variable | type | unit | default | meaning |", "|---|---|---|---|---|"]
    for row in rows:
        cells = (f"`{row.name}`", type_name(row.hint), row.unit, _default(row), row.meaning)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _default(row: Variable) -> str:
    if not row.required:
        return _code(row.shown)
    return f"**required** without `{row.unless}`" if row.unless else "**required**"


def _code(text: str) -> str:
    return f"`{text}`" if text and " " not in text and "`" not in text else text
