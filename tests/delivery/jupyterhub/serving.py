"""A queue-manager with a loaded day, from the test exchange."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tests.cli import support


@dataclass(frozen=True)
class Served:
    """Where it serves, and what its exchange has."""

    url: str
    exchange: str

    def oracle(self, start_ms: int, end_ms: int) -> list[list[Any]]:
        """The exchange's own rows."""
        return support.oracle(self.exchange, start_ms, end_ms)


@contextmanager
def serving(data: Path) -> Iterator[Served]:
    """It holds 2024-08-01 of BTCUSDT in minutes."""
    with support.exchange() as exchange:
        where = ("--data", str(data), "--exchange", exchange)
        with support.process("load", "BTCUSDT", support.TYPE, "2024-08-01", *where) as loading:
            support.finished(loading, within_s=100).ok()
        with support.process("up", *where, "--port", "0", "--json") as up:
            assert up.stdout is not None
            yield Served(msgspec.json.decode(up.stdout.readline())["url"], exchange)
