"""What docs/operations.md says of speed and memory: rows of docs/benchmarks.md, which `make bench` writes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

PAGE, SOURCE = Path("docs") / "operations.md", Path("docs") / "benchmarks.md"
_MARKED = re.compile(r"(<!-- measured\b[^>]*-->\n)(.*?)(<!-- /measured -->)", re.DOTALL)
_ROW = re.compile(r"^\| ([^|]+) \| ([^|]+) \| ([^|]*) \| ([^|]*) \|$", re.MULTILINE)
_WANTED = (
    "525,600 candles, from request to proven coverage",
    "time per candle, ten years against a year",
    "Kafka: 525,600 candles, from request to proven coverage",
    "loader-api-candles: memory at rest",
    "loader-api-candles: most memory at full speed",
    "arango-candles: memory at rest",
    "arango-candles: most memory at full speed",
    "GET /queues, p95, 10,000 workflows stored",
    "Kubernetes: workflows accepted",
    "Kubernetes: workflows launched",
    "Kubernetes: memory of the manager, 1,000 live",
)


def measured(root: Path) -> Iterator[tuple[Path, str]]:
    """The page with the rows as the benchmarks have them now. Raises ValueError for a row that they have not."""
    if not (root / PAGE).exists():
        return
    rows = {name: value for name, value, _, _ in _ROW.findall((root / SOURCE).read_text("utf-8"))}
    if missing := [name for name in _WANTED if name not in rows]:
        raise ValueError(f"{SOURCE} has no row {missing[0]!r}, which {PAGE} tells of")
    table = "\n".join(["| what | measured |", "|---|---:|", *(f"| {name} | {rows[name]} |" for name in _WANTED)])
    text = (root / PAGE).read_text("utf-8")
    yield PAGE, _MARKED.sub(lambda match: f"{match[1]}\n{table}\n\n{match[3]}", text)
