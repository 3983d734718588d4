"""What a request for a file asks for, by RFC 9110: which bytes, and only if the file is (not) a certain one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import formatdate, parsedate_to_datetime

import msgspec

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


class Representation(msgspec.Struct, frozen=True):
    """What there is at a URL. etag: without quotes."""

    size: int
    etag: str
    modified_ms: int

    @property
    def headers(self) -> dict[str, str]:
        """Those that describe it."""
        return {
            "ETag": f'"{self.etag}"',
            "Last-Modified": formatdate(self.modified_ms // 1000, usegmt=True),
            "Accept-Ranges": "bytes",
        }


class Selected(msgspec.Struct, frozen=True):
    """The answer: bytes from `start` to before `end` with 200 or 206, or none with 304, 412 or 416."""

    status: int
    start: int = 0
    end: int = 0


def select(headers: Mapping[str, str], found: Representation) -> Selected:
    """Which bytes of `found` a GET with these headers gets. Several ranges at once get the whole, as from S3."""
    if "If-Match" in headers and not _names(headers["If-Match"], found):
        return Selected(412)
    if "If-None-Match" in headers:
        if _names(headers["If-None-Match"], found):
            return Selected(304)
    elif "If-Modified-Since" in headers and _unchanged(headers["If-Modified-Since"], found):
        return Selected(304)
    match = _RANGE.fullmatch(headers.get("Range", "").replace(" ", ""))
    if match is None or not any(match.groups()) or not _same(headers.get("If-Range"), found):
        return Selected(200, 0, found.size)
    first, last = match.groups()
    start = int(first) if first else max(found.size - int(last), 0)
    end = min(int(last) + 1, found.size) if first and last else found.size
    if first and last and int(last) < int(first):
        return Selected(200, 0, found.size)
    return Selected(206, start, end) if start < end else Selected(416)


def _names(tags: str, found: Representation) -> bool:
    return tags.strip() == "*" or f'"{found.etag}"' in (tag.strip().removeprefix("W/") for tag in tags.split(","))


def _unchanged(moment: str, found: Representation) -> bool:
    try:
        return found.modified_ms // 1000 <= parsedate_to_datetime(moment).timestamp()
    except ValueError:
        return False


def _same(condition: str | None, found: Representation) -> bool:
    described = found.headers
    return condition is None or condition.strip() in (described["ETag"], described["Last-Modified"])
