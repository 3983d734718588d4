"""Fails when two folders of adapters hold the same ten lines in a row: what they share belongs into one module.

Blank lines, comments, imports and brackets alone do not count, indentation neither.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ADAPTERS = Path(__file__).resolve().parent.parent / "libs/streamforge_utils/src/streamforge_utils/adapters"
RUN = 10
PASSED_OVER = re.compile(r"#|import |from |[][(){},:]*$")


def main() -> int:
    seen: dict[tuple[str, ...], tuple[str, str]] = {}
    found = []
    for path in sorted(ADAPTERS.rglob("*.py")):
        name = path.relative_to(ADAPTERS)
        lines = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        counted = [(at, line.strip()) for at, line in lines if not PASSED_OVER.match(line.strip())]
        for begin in range(len(counted) - RUN + 1):
            run = counted[begin : begin + RUN]
            folder, place = seen.setdefault(tuple(text for _, text in run), (name.parts[0], f"{name}:{run[0][0]}"))
            if folder != name.parts[0]:
                found.append(f"{name}:{run[0][0]} repeats {RUN} lines of {place}")
    for problem in found:
        print(f"duplicates: {problem}: let one module hold them", file=sys.stderr)
    if not found:
        print(f"duplicates: no two folders of adapters hold the same {RUN} lines")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
