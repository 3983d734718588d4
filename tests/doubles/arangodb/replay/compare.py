"""Whether an answer of the double is the recorded one, in all that is not made up by a server or its machine."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.doubles.arangodb.replay.lines import REVISION, Pair
from tests.doubles.arangodb.replay.prepare import Answer

MADE_UP = frozenset(
    {
        # revisions, numbers and names that a server makes up
        "_rev", "_oldRev", "revision", "checksum", "objectId", "globallyUniqueId", "lastValue", "shardId", "initialCid",
        # times and what is measured
        "created", "executionTime", "peakMemoryUsage", "documentsSize", "size", "bytesUsed", "cacheSize", "cacheUsage",
        # how a query was planned, which is an optimizer's business: what it read, not what it gave
        "scannedFull", "scannedIndex", "documentLookups", "seeks", "cursorsCreated", "cursorsRearmed", "cacheHits",
        "cacheMisses", "filtered", "runtime", "fetching", "searchParallelism",
        # the machine
        "host", "endianness", "expires", "license",
    }
)  # fmt: skip
"""Attributes whose values are compared by type only."""

OPAQUE = (
    ("/_api/cursor", ("plan", "nodes", "profile")),
    ("/_api/version", ("details",)),
    ("/_admin/license", ("features", "status")),
)
"""By path: attributes of which only the type of the value is compared: plans, builds, licences."""

LISTINGS = ("/_api/collection", "/_api/database", "/_api/database/user")
"""GET of one of these lists all there is on a server: the elements' shape is compared, not which they are."""

_NUMBERED = re.compile(r"([A-Za-z][\w-]*/|s)?\d{3,}")
_INDEX_NAME = re.compile(r"idx_\d+")
_UNIQUE_ID = re.compile(r"[hc]?[0-9A-F]+/\d*")
_HEADERS = ("etag", "location", "x-arango-error-codes", "www-authenticate")
_LEFT_OUT = frozenset({"content-length", "x-arango-queue-time-seconds", "connection", "date"})
_SERVER = re.compile(r"(PRMR|CRDN)-[0-9a-f-]{36}")


def compare(pair: Pair, answer: Answer) -> list[str]:
    """What differs in status, headers and body of an answer from the recorded ones.

    The words of errors may be others: clients must not rely on them.
    """
    result: list[str] = []
    if answer.status != pair.status:
        result.append(f"status: recorded {pair.status}, answered {answer.status} {answer.body[:300]!r}")
        return result
    _headers(pair, answer, result)
    if pair.subset and pair.answer is None:
        return result
    if isinstance(pair.answer, str) and not answer.headers.get("content-type", "").startswith("application/json"):
        if not answer.body:
            result.append("body: recorded text, answered nothing")
        return result
    try:
        value = answer.json()
    except ValueError:
        result.append(f"body: no JSON: {answer.body[:100]!r}")
        return result
    opaque = {name for path, names in OPAQUE if pair.route.startswith(path) for name in names}
    listing = pair.method == "GET" and pair.route.rstrip("/") in LISTINGS
    _Bodies(pair, opaque, listing, result).compare(pair.answer, value, "body")
    return result


def _headers(pair: Pair, answer: Answer, result: list[str]) -> None:
    recorded = {name: _text(value) for name, value in pair.answer_headers.items()}
    if not pair.subset:
        names, have = set(recorded) - _LEFT_OUT, set(answer.headers) - _LEFT_OUT
        result += [f"header {name}: {'missing' if name in names else 'not recorded'}" for name in sorted(names ^ have)]
    for name in _HEADERS:
        if name in recorded and name in answer.headers:
            want, have_ = _shape_of_header(name, recorded[name]), _shape_of_header(name, answer.headers[name])
            if want != have_:
                result.append(f"header {name}: recorded {recorded[name]!r}, answered {answer.headers[name]!r}")
        elif name in recorded and pair.subset:
            result.append(f"header {name}: missing")


def _text(value: Any) -> str:
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)


def _shape_of_header(name: str, value: str) -> str:
    """A header with what is made up taken out: the quotes of an ETag stay, its revision goes."""
    if name == "x-arango-error-codes":
        return json.dumps(json.loads(value), sort_keys=True)
    if name == "etag":
        quote = '"' if value.startswith('"') else ""
        inner = value.strip('"')
        known = REVISION.fullmatch(inner) or inner.startswith("<")
        return f"{quote}revision{quote}" if known else value
    if name == "location":
        return re.sub(r"/(\d{3,}|<[^>]*>)(?=/|$)", "/number", value)
    return value


class _Bodies:
    def __init__(self, pair: Pair, opaque: set[str], listing: bool, result: list[str]) -> None:
        self._subset = pair.subset
        self._opaque = opaque
        self._listing = listing
        self._result = result

    def compare(self, want: Any, have: Any, place: str, name: str = "") -> None:
        if isinstance(want, str) and want.startswith("<") and want.endswith(">"):
            if have is None:
                self._differ(place, want, have)
            return
        if name in self._opaque or name in MADE_UP:
            if _kind(want) != _kind(have):
                self._differ(place, want, have)
        elif isinstance(want, dict) and isinstance(have, dict):
            self._objects(want, have, place, name)
        elif isinstance(want, list) and isinstance(have, list):
            self._lists(want, have, place)
        elif isinstance(want, str) and isinstance(have, str) and "<" in want and self._subset:
            if not re.fullmatch(
                re.sub(r"<[^>]*>", ".+", re.escape(want).replace(r"\<", "<").replace(r"\>", ">")), have
            ):
                self._differ(place, want, have)
        elif name != "errorMessage" and (_kind(want) != _kind(have) or _plain(want) != _plain(have)):
            self._differ(place, want, have)

    def _objects(self, want: dict[str, Any], have: dict[str, Any], place: str, name: str) -> None:
        if name in ("identifiers", "shards"):  # maps whose names are made up
            want, have = (
                {str(i): v for i, v in enumerate(want.values())},
                {str(i): v for i, v in enumerate(have.values())},
            )
        missing, more = set(want) - set(have), set(have) - set(want)
        if missing or (more and not self._subset):
            said = [f"without {sorted(missing)}"] if missing else []
            said += [f"with {sorted(more)}, not recorded"] if more and not self._subset else []
            self._result.append(f"{place}: {', '.join(said)}")
        for key in want:
            if key in have:
                self.compare(want[key], have[key], f"{place}.{key}", key)

    def _lists(self, want: list[Any], have: list[Any], place: str) -> None:
        if self._listing:
            if want and have:
                self._subset_shape(want[0], have[0], f"{place}[0]")
            elif want:
                self._result.append(f"{place}: recorded elements, answered none")
            return
        if len(want) != len(have):
            self._result.append(f"{place}: recorded {len(want)} elements, answered {len(have)}")
            return
        if place == "body.graphs":  # all there are, in no order
            want, have = sorted(want, key=_by_key), sorted(have, key=_by_key)
        for i, (a, b) in enumerate(zip(want, have, strict=True)):
            self.compare(a, b, f"{place}[{i}]")

    def _subset_shape(self, want: Any, have: Any, place: str) -> None:
        """The same kinds of values under the same names."""
        if _kind(want) != _kind(have):
            self._differ(place, want, have)
        elif isinstance(want, dict):
            if set(want) != set(have):
                self._differ(place, sorted(want), sorted(have))
            for key in set(want) & set(have):
                self._subset_shape(want[key], have[key], f"{place}.{key}")

    def _differ(self, place: str, want: Any, have: Any) -> None:
        self._result.append(f"{place}: recorded {_short(want)}, answered {_short(have)}")


def _by_key(value: Any) -> str:
    return str(value.get("_key")) if isinstance(value, dict) else ""


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, int | float) else type(value).__name__


def _plain(value: Any) -> Any:
    """A value with numbers and revisions that a server made up taken out."""
    if not isinstance(value, str):
        return value
    if REVISION.fullmatch(value) and not value.isalpha():
        return "revision"
    if _UNIQUE_ID.fullmatch(value):
        return "unique id"
    server = _SERVER.fullmatch(value)
    if server:
        return server.group(1)
    match = _NUMBERED.fullmatch(value)
    if match:
        return f"{match.group(1) or ''}number"
    return re.sub(r"conflicting key: \d{3,}", "conflicting key: number", _INDEX_NAME.sub("index name", value))


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 160 else text[:160] + "…"
