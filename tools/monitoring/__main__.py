"""`python -m tools.monitoring`: checks alerts and dashboards; `--write` writes what follows from the code first."""

from __future__ import annotations

import argparse
import sys

from tools.monitoring import alerts, checking, files, promtool


def main() -> int:
    """Check or write; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.monitoring", description=__doc__)
    parser.add_argument(
        "--write", action="store_true", help="write dashboards and the page about metrics, check nothing"
    )
    if parser.parse_args().write:
        files.write()
        print(f"monitoring: {len(files.texts())} files written")
        return 0
    try:
        found = list(checking.problems())
    except promtool.PromtoolError as error:
        found = [str(error)]
    for problem in found:
        print(f"monitoring: {problem}", file=sys.stderr)
    if not found:
        print(
            f"monitoring: {len(alerts.alerts(alerts.groups()))} alerts, each tested; dashboards as the code makes them"
        )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
