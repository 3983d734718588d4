"""The form of the recordings: one JSON object per line, most of them a request, its answer and its setup."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec

REVISION = re.compile(r"_[A-Za-z0-9_-]{10}")
NEWEST = {"3.11": "3.11.14", "3.12": "3.12.10"}


class Pair(msgspec.Struct):
    """One line; names of headers are in lower case. unreadable: why the line is not one, else empty."""

    id: str
    kind: str = ""
    group: str = ""
    version: str = ""
    deployment: str = "single"
    method: str = ""
    path: str = ""
    headers: dict[str, Any] = msgspec.field(name="request_headers", default_factory=dict)
    body: Any = msgspec.field(name="request_body", default=None)
    status: int | None = None
    answer_headers: dict[str, Any] = msgspec.field(name="response_headers", default_factory=dict)
    answer: Any = msgspec.field(name="response_body", default=None)
    match: str = msgspec.field(name="response_body_match", default="")
    setup: list[dict[str, Any]] = []
    note: str = ""
    unreadable: str = ""

    def __post_init__(self) -> None:
        self.headers = {name.lower(): str(value) for name, value in self.headers.items()}
        self.answer_headers = {name.lower(): value for name, value in self.answer_headers.items()}
        if self.body is not None and not isinstance(self.body, str):
            self.body = json.dumps(self.body)

    @property
    def subset(self) -> bool:
        """Whether the recorded body is a part of the answer."""
        return self.match == "subset"

    @property
    def route(self) -> str:
        """The path without the database and without the query string."""
        return _route(self.path)

    @property
    def family(self) -> str:
        return family_of(self.path)

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


def _route(path: str) -> str:
    return re.sub(r"^/_db/[^/]+", "", path.partition("?")[0])


def family_of(path: str) -> str:
    """The first two parts of a path without its database: `_api/document`."""
    return "/".join(_route(path).split("/")[1:3])


def read(path: Path) -> list[Pair]:
    """All lines of a file; null is as good as nothing."""
    lines = enumerate(path.read_bytes().splitlines(), start=1)
    return [_pair(number, line) for number, line in lines if line.strip()]


def _pair(number: int, line: bytes) -> Pair:
    try:
        given = {name: value for name, value in json.loads(line).items() if value is not None}
        return msgspec.convert(given, Pair)
    except (ValueError, AttributeError) as error:
        return Pair(id=f"line {number}", unreadable=f"no recording: {error}")
