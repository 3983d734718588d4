"""The exchange's limit of connections holds for all loaders of an address, however they are cut and killed.

The exchange here allows four fifths of what Binance does, and the manager deals half of it, as it does by default.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from streamforge.exchange.config import ExchangeConfig, SymbolSpec
from streamforge.exchange.exchange_server import run
from tests.e2e import rig
from tests.e2e.exchangeprocess import Exchange
from tests.e2e.rig import step
from tests.limits import LIMIT_S

SYMBOLS = [f"S{number:02}USDT" for number in range(10)]
LISTED_MS = 1_577_836_800_000
LOADER = "loader-ws-trades"
LIMIT = 240
TOTAL = LIMIT // 2
GENERATIONS = 3
CUT = "stream-reset:all=1,count=1"
HELD_BACK = "connections to the exchange's streams"


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    found = Exchange(command=[sys.executable, "-m", "tests.e2e.test_connect_limit"])
    yield found
    found.close()


def settled(exchange: Exchange, manager: rig.Manager, queue_ids: list[str], number: int) -> int | None:
    """How many connections are open, once each loader has one or is held back; None: not yet."""
    found = [manager.show(one) for one in queue_ids]
    held = sum(HELD_BACK in (one["waiting_for"] or "") for one in found)
    streams = exchange.stats()["streams"]
    begun = all(len(step(one, LOADER)["attempts"]) == number for one in found)
    return streams["open"] if begun and streams["open"] + held == len(SYMBOLS) else None


@pytest.mark.long
def test_mass_cuts_and_kills_of_many_loaders_never_exceed_it(exchange: Exchange, tmp_path: Path) -> None:
    settings = {"STREAMFORGE_BASKET_SIZE": "1", "STREAMFORGE_TOTAL_CONNECTS": str(TOTAL)}
    with rig.manager(tmp_path / "data", exchange.url, **settings) as manager:
        queue_ids = [manager.start_load(one, "ws_trades", "")["queue_id"] for one in SYMBOLS]
        for number in range(1, GENERATIONS + 1):
            there = partial(settled, exchange, manager, queue_ids, number)
            while rig.eventually(there, "each is connected or held back", 2 * LIMIT_S, manager.log):
                exchange.switch_on(CUT)
                rig.eventually(
                    lambda: True if exchange.stats()["streams"]["open"] < len(SYMBOLS) else None, "they are cut"
                )
            if number < GENERATIONS:
                for one in queue_ids:
                    manager.kill_worker(one, LOADER)
        streams = exchange.stats()["streams"]
        assert streams["refused"] == 0
        assert (GENERATIONS + 1) * len(SYMBOLS) < streams["connects"] <= TOTAL


if __name__ == "__main__":
    MADE = [SymbolSpec(symbol=s, base=s[:3], quote="USDT", listed_ms=LISTED_MS, trades_a_minute=600) for s in SYMBOLS]
    sys.exit(run(ExchangeConfig(weight_limit=None, connect_limit=LIMIT, symbols=tuple(MADE)), json_line=True))
