"""Faults on demand: which requests fail, how, how often; and what was counted.

A fault is set in-process (`double.misbehaviour.add(...)`) or, for a double in a process of its own, over its control
endpoint (`POST /_double/faults` with the fields of `Fault`; `GET` reads the counters; `DELETE` ends all).
"""

from __future__ import annotations

import random
import re
from collections import Counter
from typing import Any

import msgspec

from tests.doubles.arangodb.errors import STATUS, ArangoError

NUMBERS = {
    "queue-full": 21003,
    "queue-time": 21004,
    "conflict": 1200,
    "lock-timeout": 18,
    "resource-limit": 32,
    "not-leader": 1496,
    "leader-challenge": 1495,
    "leader-resigned": 1491,
    "cluster-timeout": 1457,
    "maintenance": 503,
    "shutdown": 30,
    "unauthorized": 11,
    "read-only": 1004,
    "write-concern": 1429,
}
KINDS = (*NUMBERS, "too-large", "error", "slow", "cut-before", "cut-after", "error-after", "element")


class Fault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One way to misbehave.

    kind: a name of NUMBERS (refused before execution), `too-large` (a proxy lets no body of more than `bytes` through
    and answers for the server), `error` (any `number`), `slow` (answered after `seconds`),
    `cut-before` and `cut-after` (the connection closes before or after execution), `error-after` (executed, then
    answered with `number`), `element` (elements of array calls fail with `number` and, if given, `message`, the
    others succeed).
    method, path: regular expressions that a request must match whole and in part. skip: matching requests that are let
    through first. times: how many are hit (None: no end). share, seed: hit this share of the matching ones, by a
    seeded generator. For `element` all of these count elements. `read-only` strikes no GET or HEAD.
    """

    kind: str
    number: int = 0
    message: str = ""
    seconds: float = 0.0
    bytes: int = 0
    method: str = ".*"
    path: str = ""
    skip: int = 0
    times: int | None = None
    share: float = 1.0
    seed: int = 0
    seen: int = 0
    hit: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind {self.kind!r}: expecting one of {', '.join(KINDS)}")
        if self.kind in ("error", "error-after", "element") and self.number not in STATUS:
            raise ValueError(f"number {self.number}: expecting a number of an error")

    def matches(self, method: str, path: str, size: int = 0) -> bool:
        if self.kind == "too-large" and size <= self.bytes:
            return False
        return bool(re.fullmatch(self.method, method) and re.search(self.path, path))

    def strikes(self) -> bool:
        """Whether it hits this request (or element), which matches; that is counted."""
        if self.times is not None and self.hit >= self.times:
            return False
        self.seen += 1
        if self.seen <= self.skip or random.Random(f"{self.seed} {self.seen}").random() >= self.share:
            return False
        self.hit += 1
        return True


class Misbehaviour:
    """All faults that are set, and counters: `requests` by method and path's first parts, `hits` by kind."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self.requests: Counter[str] = Counter()
        self.hits: Counter[str] = Counter()

    def add(self, fault: Fault) -> Fault:
        """Set a fault; it comes after those set before. Its counters can be read from it."""
        self._faults.append(fault)
        return fault

    def clear(self) -> None:
        self._faults.clear()

    def of(self, method: str, path: str, size: int = 0) -> list[Fault]:
        """The faults that strike this request, `element` ones apart. size: bytes of its body."""
        struck = []
        for fault in self._faults:
            reads = fault.kind == "read-only" and method in ("GET", "HEAD")
            if fault.kind != "element" and not reads and fault.matches(method, path, size) and fault.strikes():
                self.hits[fault.kind] += 1
                struck.append(fault)
        return struck

    def element(self, method: str, path: str) -> ArangoError | None:
        """The error that the next element of this request's array is to fail with."""
        for fault in self._faults:
            if fault.kind == "element" and fault.matches(method, path) and fault.strikes():
                self.hits["element"] += 1
                return ArangoError(fault.number, fault.message or None)
        return None

    def report(self) -> dict[str, Any]:
        """What is set and what was counted."""
        return {
            "faults": msgspec.to_builtins(self._faults),
            "requests": dict(self.requests),
            "hits": dict(self.hits),
        }


def refusal(fault: Fault) -> ArangoError:
    """The error that a fault answers with."""
    if fault.kind == "unauthorized":
        return ArangoError(11, "not authorized to execute this request", status=401)
    return ArangoError(NUMBERS.get(fault.kind, fault.number))
