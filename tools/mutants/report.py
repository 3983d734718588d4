"""What became of a group's mutants, and which of those that live are explained."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tools.mutants.workspace import ROOT, Workspace

EXPLAINED = ROOT / "tools" / "mutants" / "explained.toml"
NOTICED = ("killed", "by types", "too long")
_OUTCOMES = {1: "killed", 3: "killed", 37: "by types", 0: "lives", 33: "no test", 5: "no test", None: "not tried"}
_TOO_LONG = (24, 36, 152, 255, -24)
"""The codes of a process that was ended for its time."""


class Change(msgspec.Struct, frozen=True):
    """A mutant by what it changes: its number moves with the code. lines: of a diff, without indentation."""

    function: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join([self.function, *(f"    {line}" for line in self.lines)])


class Explanation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a mutant may live."""

    function: str
    change: list[str]
    why: str


class _Meta(msgspec.Struct):
    exit_code_by_key: dict[str, int | None]


class Outcome(msgspec.Struct, frozen=True):
    """counts: mutants by what became of them. living: those that no test noticed, by mutmut's names."""

    counts: Counter[str]
    living: list[str]

    @property
    def noticed(self) -> int:
        return sum(self.counts[word] for word in NOTICED)


def outcome(workspace: Workspace) -> Outcome:
    """Read what mutmut wrote. A module without a file of results has no mutants."""
    counts: Counter[str] = Counter()
    living = []
    for module in workspace.modules:
        for mutant, code in _codes(workspace.folder / "mutants" / f"{module}.meta"):
            word = "too long" if code in _TOO_LONG else _OUTCOMES.get(code, "broken")
            counts[word] += 1
            if word not in NOTICED:
                living.append(mutant)
    return Outcome(counts, living)


def changes(workspace: Workspace, mutants: list[str]) -> dict[Change, str]:
    """Each mutant as its change."""
    shown = zip(mutants, workspace.show(mutants), strict=True)
    return {Change(function_of(mutant), tuple(map(_plain, lines))): mutant for mutant, lines in shown}


def function_of(mutant: str) -> str:
    """`a.b.Class.method` of mutmut's `a.b.xǁClassǁmethod__mutmut_7`, `a.b.function` of `a.b.x_function__mutmut_7`."""
    module, _, name = mutant.partition("__mutmut_")[0].rpartition(".")
    return f"{module}.{name[1:].replace('ǁ', '.').removeprefix('.').removeprefix('_')}"


def explanations() -> dict[Change, str]:
    """Why each mutant lives that may, by its change."""
    told = tomllib.loads(EXPLAINED.read_text("utf-8")).get("lives", [])
    found = msgspec.convert(told, list[Explanation])
    return {Change(one.function, tuple(map(_plain, one.change))): one.why for one in found}


def _codes(path: Path) -> Iterator[tuple[str, int | None]]:
    if path.exists():
        yield from msgspec.convert(json.loads(path.read_text("utf-8")), _Meta).exit_code_by_key.items()


def _plain(line: str) -> str:
    return f"{line[0]} {line[1:].strip()}"
