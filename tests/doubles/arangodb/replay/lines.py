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
    """One line."""

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
    """All lines of a file."""
    return [_pair(json.loads(line)) for line in path.read_bytes().splitlines() if line.strip()]


def _pair(found: dict[str, Any]) -> Pair:
    body = found.get("request_body")
    return Pair(
        id=found["id"],
        kind=found.get("kind", ""),
        group=found.get("group", ""),
        version=found.get("version", ""),
        deployment=found.get("deployment", "single"),
        method=found.get("method") or "",
        path=found.get("path") or "",
        headers={str(k).lower(): str(v) for k, v in (found.get("request_headers") or {}).items()},
        body=body if body is None or isinstance(body, str) else json.dumps(body),
        status=found.get("status"),
        answer_headers={str(k).lower(): v for k, v in (found.get("response_headers") or {}).items()},
        answer=found.get("response_body"),
        subset=found.get("response_body_match") == "subset",
        setup=found.get("setup") or [],
        note=found.get("note") or "",
    )
