"""Runs any number of random histories: `python -m tests.histories --cases 20000 --seed 1`."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from tests.histories.case_runner import failure_of, shortest
from tests.histories.engines import EmbeddedEngines, MemoryEngines
from tests.histories.generator import history_of
from tests.histories.history import decode
from tests.histories.simulation import MakeEngines


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.histories", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the histories")
    parser.add_argument("--cases", type=int, default=1000, help="how many are run")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the number of the first one")
    parser.add_argument("--case", type=int, help="run this one alone")
    parser.add_argument("--history", help="run this one alone, as a failure prints it")
    parser.add_argument("--all", action="store_true", help="go on behind a failure, and count them by the broken rule")
    parser.add_argument("--long", action="store_true", help="print a failing history as it is, without a shorter one")
    parser.add_argument("--embedded", action="store_true", help="on the embedded bus and store, not on doubles of them")
    args = parser.parse_args()
    engines: MakeEngines = EmbeddedEngines if args.embedded else MemoryEngines
    if args.history is not None:
        failure = failure_of(decode(args.history), engines=engines)
        sys.stdout.write(f"{failure or 'no rule is broken'}\n")
        return failure is not None
    began, found = time.monotonic(), Counter[str]()
    cases = range(args.first, args.first + args.cases) if args.case is None else [args.case]
    for case in cases:
        failure = failure_of(history_of(args.seed, case), engines=engines)
        if failure is None:
            continue
        found[failure.rule] += 1
        if not args.all or found[failure.rule] == 1:
            sys.stdout.write(f"case {case} fails: {failure if args.long else shortest(failure)}\n\n")
            sys.stdout.flush()
        if not args.all:
            return 1
    for rule, count in found.most_common():
        sys.stdout.write(f"{count:6} {rule}\n")
    sys.stdout.write(f"{len(cases)} cases in {time.monotonic() - began:.1f} s, {found.total()} failed\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
