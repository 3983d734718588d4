"""`python -m tests.doubles.arangodb.replay FILE`: exit code 1 if an answer differs."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from tests.doubles.arangodb.replay.report import replay


def main() -> int:
    """Replay the file and print the report."""
    parser = argparse.ArgumentParser(prog="python -m tests.doubles.arangodb.replay", description=__doc__)
    parser.add_argument("file", type=Path, help="recordings, one JSON object per line")
    given = parser.parse_args()
    report = asyncio.run(replay(given.file))
    print(report.text())
    return 1 if report.differing else 0


if __name__ == "__main__":
    sys.exit(main())
