"""Fails when two modules of the packages have one name: who reads an import, or looks for a file, must know which."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OFTEN = {"__init__", "__main__"}
"""Names that Python gives."""


def main() -> int:
    places: dict[str, list[str]] = {}
    for package in ("libs/streamforge_utils/src", "src"):
        for path in (ROOT / package).rglob("*.py"):
            if path.stem not in OFTEN and "node_modules" not in path.parts:
                places.setdefault(path.stem, []).append(str(path.relative_to(ROOT)))
    twice = {name: sorted(found) for name, found in sorted(places.items()) if len(found) > 1}
    for name, found in twice.items():
        print(f"modules: {name} names {' and '.join(found)}: rename one after what it holds", file=sys.stderr)
    if not twice:
        print(f"modules: {len(places)} names, each used once")
    return 1 if twice else 0


if __name__ == "__main__":
    sys.exit(main())
