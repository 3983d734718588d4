"""The form of the recordings: one JSON object per line, most of them a request, its answer and its setup."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REVISION = re.compile(r"_[A-Za-z0-9_-]{10}")
NEWEST = {"3.11": "3.11.14", "3.12": "3.12.10"}


@dataclass(slots=True)
class Pair:
    """One line. A line that is no object at all has only `broken`, which says why."""

    id: str
    kind: str = ""
    group: str = ""
    version: str = ""
    deployment: str = "single"
    method: str = ""
    path: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None
    status: int | None = None
    answer_headers: dict[str, Any] = field(default_factory=dict)
    answer: Any = None
    subset: bool = False
    setup: list[dict[str, Any]] = field(default_factory=list)
    note: str = ""
    broken: str = ""

    @property
    def route(self) -> str:
        """The path without the database and without the query string."""
        return re.sub(r"^/_db/[^/]+", "", self.path.partition("?")[0])

    @property
    def server_version(self) -> str:
        """The version to replay it on: its own if it is a whole one, else the newest that it can mean."""
        match = re.match(r"3\.(\d+)\.\d+(?!.*nightly)", self.version)
        if match:
            return self.version
        return NEWEST["3.11"] if self.version.startswith("3.11") else NEWEST["3.12"]

    @property
    def cluster(self) -> bool:
        return self.deployment == "cluster" or self.note.startswith("CLUSTER")


def read(path: Path) -> list[Pair]:
    """All lines of a file; a line that cannot be understood is kept as a broken one."""
    pairs = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if line.strip():
            pairs.append(_pair(line, f"line {number}"))
    return pairs


def _pair(line: bytes, place: str) -> Pair:
    try:
        found = json.loads(line)
    except ValueError as error:
        return Pair(place, broken=f"no JSON: {error}")
    if not isinstance(found, dict):
        return Pair(place, broken="no JSON object")
    odd = [
        name
        for name, form in (("request_headers", dict), ("response_headers", dict), ("setup", list))
        if not isinstance(found.get(name) or form(), form)
    ]
    if odd or not all(isinstance(step, dict) for step in found.get("setup") or []):
        return Pair(str(found.get("id", place)), broken=f"of another form: {', '.join(odd) or 'setup'}")
    body = found.get("request_body")
    status = found.get("status")
    return Pair(
        id=str(found.get("id", place)),
        kind=str(found.get("kind", "")),
        group=str(found.get("group", "")),
        version=str(found.get("version", "")),
        deployment=str(found.get("deployment", "single")),
        method=str(found.get("method") or ""),
        path=str(found.get("path") or ""),
        headers={str(k).lower(): str(v) for k, v in (found.get("request_headers") or {}).items()},
        body=body if body is None or isinstance(body, str) else json.dumps(body),
        status=status if isinstance(status, int) else None,
        answer_headers={str(k).lower(): v for k, v in (found.get("response_headers") or {}).items()},
        answer=found.get("response_body"),
        subset=found.get("response_body_match") == "subset",
        setup=found.get("setup") or [],
        note=str(found.get("note") or ""),
    )
