"""The page: docs/reference/benchmarks.md, written from what was measured."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.common.kept import Measured
from benchmarks.common.machine import Machine
from benchmarks.common.measuring import Line, Section
from benchmarks.common.quiet import FOREIGN

QUIET = 0.7
"""Load above which the machine had other things to do."""

INTRODUCTION = """\
# Benchmarks

Written by `make bench`; not to be edited. What matters are the ratios: each compares two ways of moving the same bytes,
run in turn (A B A B) in new processes of one run on one machine, and is the median over the rounds. Bare times are
those of the machine below and of no other.
"""


def page(measured: Measured) -> str:
    """The page as Markdown."""
    sections = list(measured.sections.values())
    parts = [
        INTRODUCTION,
        _machine(measured.machine, measured.minutes),
        _wrapped(_quiet(measured.runs, measured.disturbed) + _again(measured.again)),
        "## Summary\n\n" + _table([section.lines for section in sections]),
    ]
    for section in sections:
        details = "".join(f"- {detail}\n" for detail in section.details)
        parts.append(f"## {section.title}\n\n{_wrapped(section.how)}")
        if details:
            parts.append(details)
    return "\n".join(part if part.endswith("\n") else part + "\n" for part in parts)


def summary(sections: Sequence[Section]) -> str:
    """The lines for a terminal."""
    rows = [_cells(line) for section in sections for line in section.lines]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _machine(machine: Machine, minutes: float) -> str:
    facts = (
        f"Measured {machine.date} in {minutes:.0f} minutes: {machine.processor}, {machine.cores} cores, "
        f"{machine.memory_gb:.0f} GB of memory, {machine.system}, {machine.file_system}; {machine.python}, "
        f"SQLite {machine.sqlite}. Load before the first benchmark: {machine.load:.2f}."
    )
    if machine.load > QUIET:
        facts += " The machine was not quiet: bare times are worse than they would be, ratios less certain."
    return _wrapped(facts)


def _quiet(runs: int, disturbed: int) -> str:
    rule = f"A run during which other processes used more than {FOREIGN:.0%} of a core is repeated, a few times at most"
    if not disturbed:
        return f"{rule}; of {runs} runs none had to be taken as it was."
    return f"{rule}; **{disturbed} of {runs} runs had to be taken although disturbed**: expect them to be too slow."


def _again(names: Sequence[str]) -> str:
    return f" Measured after the others, in a run of its own: {', '.join(names)}." if names else ""


def _table(groups: Sequence[Sequence[Line]]) -> str:
    rows = [_cells(line) for lines in groups for line in lines]
    return "\n".join(("| | measured | target | |", "|---|---:|---:|---|", *(f"| {' | '.join(row)} |" for row in rows)))


def _cells(line: Line) -> tuple[str, str, str, str]:
    verdict = {True: "met", False: "**missed**", None: ""}[line.passed]
    return line.what, line.value, line.target, verdict


def _wrapped(text: str, width: int = 120) -> str:
    lines, current = [], ""
    for word in text.split(" "):
        if current and len(current) + 1 + len(word) > width:
            lines.append(current)
            current = word
        else:
            current = f"{current} {word}" if current else word
    return "\n".join([*lines, current])
