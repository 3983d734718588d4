"""Change the code in small ways, one at a time, and see that a test fails: `python -m tools.mutants [GROUP ...]`.

groups.toml says which modules are mutated and which tests must notice. A change that no test notices lives; it is
listed, and explained.toml says why it may. Exit code 0: at least 90 % are noticed, and the rest is explained.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence

from tools.mutants.report import EXPLAINED, NOTICED, Change, changes, explanations, outcome
from tools.mutants.workspace import BUILD, Workspace, groups

SHARE = 0.9


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the mutants of the groups and report; 0 if enough are noticed and the others explained."""
    known = groups()
    parser = argparse.ArgumentParser(prog="python -m tools.mutants", description="Mutation tests.")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"{', '.join(known)} (default: all)")
    parser.add_argument("--processes", type=int, default=2, help="mutants that are tried at once (default 2)")
    parser.add_argument(
        "--living", action="store_true", help="only those that no test noticed last time, where the code is the same"
    )
    parser.add_argument("--report", action="store_true", help="try none, report the last results")
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.groups if name not in known]:
        parser.error(f"{', '.join(unknown)}: no group of groups.toml, which has {', '.join(known)}")
    began = time.monotonic()
    total: Counter[str] = Counter()
    why = explanations()
    met: set[Change] = set()
    lines, unexplained = [f"{'group':<14} {'mutants':>8} {'noticed':>8} {'share':>7}"], 0
    for name in given.groups or known:
        workspace = Workspace(name, known[name])
        if not given.report and (code := _try(workspace, given.processes, living=given.living)):
            said = workspace.log.read_text("utf-8", "replace").replace("\r", "\n")
            print(f"{said[-3000:]}\nmutants: {name}: mutmut ended with {code}, see {workspace.log}", file=sys.stderr)
            return code
        found = outcome(workspace)
        total += found.counts
        lines.append(_row(name, found.counts))
        for change in changes(workspace, found.living):
            met.add(change)
            unexplained += change not in why
            lines += ["", f"{change}", f"    lives: {why.get(change, 'NOT EXPLAINED')}", ""]
    lines += [_row("all", total), f"{dict(total)} in {time.monotonic() - began:.0f} s"]
    if not given.groups:
        lines += [f"explained, but noticed or gone by now: {change}" for change in why if change not in met]
    report = "\n".join(lines)
    print(report)
    (BUILD / "report.txt").write_text(report + "\n", "utf-8")
    noticed, tried = sum(total[word] for word in NOTICED), total.total()
    if not tried or noticed < SHARE * tried or unexplained:
        print(
            f"mutants: {noticed} of {tried} noticed, {SHARE:.0%} are wanted; {unexplained} live without a word in "
            f"{EXPLAINED.name}",
            file=sys.stderr,
        )
        return 1
    return 0


def _try(workspace: Workspace, processes: int, *, living: bool) -> int:
    if not living or not workspace.is_current():
        workspace.make()
        return workspace.run(processes)
    workspace.settle()
    found = outcome(workspace).living
    # Where other tests are asked now, mutmut has forgotten what it knew: then the rest is tried again too.
    return (workspace.run(processes, found) if found else 0) or workspace.run(processes)


def _row(name: str, counts: Counter[str]) -> str:
    noticed, tried = sum(counts[word] for word in NOTICED), counts.total()
    return f"{name:<14} {tried:>8} {noticed:>8} {noticed / tried if tried else 0:>7.1%}"


if __name__ == "__main__":
    sys.exit(main())
