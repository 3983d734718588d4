"""A queue-manager with a loaded day, from the test exchange."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cli import support
from tests.places import market_data
from tools.results import read_universe, write_recordings

READER = "r" * 40
"""A reader's token."""


@dataclass(frozen=True)
class Served:
    """Where it serves, and what its exchange has. guarded: where it serves with tokens."""

    url: str
    guarded: str
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
        tokens = {"STREAMFORGE_OPERATOR_TOKEN": "o" * 40, "STREAMFORGE_READER_TOKEN": READER}
        guarded = data.with_name("guarded")
        shutil.copytree(data, guarded)
        to_guarded = ("--data", str(guarded), "--exchange", exchange, "--port", "0", "--json")
        with support.manager(data, exchange) as (_, told), support.process("up", *to_guarded, **tokens) as up:
            yield Served(told["url"], support.ready(up)["url"], exchange)


@contextmanager
def replaying(folder: Path) -> Iterator[str]:
    """The URL of an exchange that has the real daily candles of 2021-04-04 to 2023-12-30, of 410 pairs."""
    universe = read_universe(market_data("universe", "universe-1d_2021-04-04_2023-12-30.parquet"), "1d", None)
    write_recordings(universe, folder)
    with support.exchange("--replay", str(folder), "--now", "2024-01-01") as url:
        yield url
