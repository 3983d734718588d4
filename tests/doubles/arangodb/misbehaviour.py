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


class _Active:
    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.method = re.compile(fault.method)
        self.path = re.compile(fault.path)
        self.random = random.Random(fault.seed)

    def matches(self, method: str, path: str, size: int = 0) -> bool:
        if self.fault.kind == "too-large" and size <= self.fault.bytes:
            return False
        return bool(self.method.fullmatch(method) and self.path.search(path))

    def strikes(self) -> bool:
        fault = self.fault
        if fault.times is not None and fault.hit >= fault.times:
            return False
        fault.seen += 1
        if fault.seen <= fault.skip or (fault.share < 1 and self.random.random() >= fault.share):
            return False
        fault.hit += 1
        return True


class Misbehaviour:
    """All faults that are set, and counters: `requests` by method and path's first parts, `hits` by kind."""

    def __init__(self) -> None:
        self._active: list[_Active] = []
        self.requests: Counter[str] = Counter()
        self.hits: Counter[str] = Counter()

    def add(self, fault: Fault) -> Fault:
        """Set a fault; it comes after those set before. Its counters can be read from it."""
        self._active.append(_Active(fault))
        return fault

    def clear(self) -> None:
        self._active.clear()

    @property
    def quiet(self) -> bool:
        return not self._active

    def of(self, method: str, path: str, size: int = 0) -> list[Fault]:
        """The faults that strike this request, `element` ones apart. size: bytes of its body."""
        struck = []
        for active in self._active:
            kind = active.fault.kind
            reads = kind == "read-only" and method in ("GET", "HEAD")
            if kind != "element" and not reads and active.matches(method, path, size) and active.strikes():
                self.hits[kind] += 1
                struck.append(active.fault)
        return struck

    def element(self, method: str, path: str) -> ArangoError | None:
        """The error that the next element of this request's array is to fail with."""
        for active in self._active:
            if active.fault.kind == "element" and active.matches(method, path) and active.strikes():
                self.hits["element"] += 1
                return ArangoError(active.fault.number, active.fault.message or None)
        return None

    def report(self) -> dict[str, Any]:
        """What is set and what was counted."""
        return {
            "faults": [msgspec.to_builtins(active.fault) for active in self._active],
            "requests": dict(self.requests),
            "hits": dict(self.hits),
        }


def refusal(fault: Fault) -> ArangoError:
    """The error that a fault answers with."""
    if fault.kind == "unauthorized":
        return ArangoError(11, "not authorized to execute this request", status=401)
    return ArangoError(NUMBERS.get(fault.kind, fault.number))
