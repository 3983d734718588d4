"""What the exchange counts, so that a test can assert how a client behaved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Stats:
    """Requests by path and status, and how many were served at the same time."""

    def __init__(self) -> None:
        self.requests: dict[str, dict[str, int]] = {}
        self.in_flight = 0
        self.max_in_flight = 0

    def count(self, path: str, status: str) -> None:
        """One answer (or `closed`: a connection that ended without a whole one)."""
        by_status = self.requests.setdefault(path, {})
        by_status[status] = by_status.get(status, 0) + 1

    @contextmanager
    def flying(self) -> Iterator[None]:
        """Around one request."""
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            yield
        finally:
            self.in_flight -= 1
