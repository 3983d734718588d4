"""Ninety order books in baskets: their snapshots are paid from the one budget, also after a mass cut."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamforge.exchange.config import ExchangeConfig, SymbolSpec
from streamforge.exchange.exchange_server import run
from tests.e2e import rig, stored_books
from tests.e2e.exchangeprocess import Exchange
from tests.e2e.rig import Json, latest
from tests.limits import LIMIT_S

SYMBOLS = [f"S{number:03}USDT" for number in range(90)]
"""Their snapshots of the usual limit take 4,500 of weight, of which a manager deals 4,200 a minute by default."""
LISTED_MS = 1_577_836_800_000
LOADER, SINK = stored_books.LOADER, stored_books.SINK
EVERY_MS = 2_000
COMPARED = 5
"""Series of which all is compared with the exchange's books."""

pytestmark = [pytest.mark.long, pytest.mark.timeout(3_600)]


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    found = Exchange(command=[sys.executable, "-m", "tests.e2e.test_many_books"])
    yield found
    found.close()


class Books:
    """The live workflows of a batch, by symbol."""

    def __init__(self, manager: rig.Manager) -> None:
        self.manager = manager
        body = {"symbols": SYMBOLS, "type": "ws_orderbook"}
        answer = manager.api.post("/batches", json=body)
        assert answer.status_code == 202, answer.text
        self.batch_id = str(answer.json()["batch_id"])

    def listed(self) -> dict[str, Json]:
        query: dict[str, str | int] = {"type": "ws_orderbook", "limit": 1000}
        found = self.manager.api.get("/queues", params=query).raise_for_status().json()["queues"]
        return {one["symbol"]: one for one in found}

    def verified(self, snapshots: int) -> dict[str, Json] | None:
        """All, once each has a book that is verified, and its loader made so many connections more; None: not yet."""
        found = self.listed()
        lives = [one["live"] or {} for one in found.values()]
        there = [one for one in lives if one.get("trust") == "verified" and one["reconnects"] >= snapshots]
        return found if len(there) == len(SYMBOLS) else None


def test_ninety_books_are_verified_again_after_a_mass_cut(exchange: Exchange, tmp_path: Path) -> None:
    with rig.manager(tmp_path / "data", exchange.url) as manager:
        began, books = time.monotonic(), Books(manager)
        found = rig.eventually(lambda: books.verified(0), "all are verified", 10 * LIMIT_S, manager.log)
        first_s, jobs = time.monotonic() - began, manager.data / "jobs"
        loaders = {latest(manager.show(one["queue_id"]), LOADER)["job"] for one in found.values()}
        assert len(loaders) == len(SYMBOLS)
        assert len([one for one in jobs.glob("*/pid") if LOADER in one.parent.name]) < len(SYMBOLS) / 2

        asked = exchange.requests("depth")
        assert asked >= len(SYMBOLS)
        cut = time.monotonic()
        # Connected again at once, a book might go on with a diff that reaches back to before the cut.
        exchange.switch_on("stream-refused")
        exchange.switch_on("stream-reset:all=1,count=1")
        over_ms = exchange.stats()["now_ms"] + 3 * EVERY_MS
        rig.eventually(lambda: exchange.stats()["now_ms"] > over_ms or None, "diffs pass unseen")
        exchange.lift_faults()
        found = rig.eventually(lambda: books.verified(1), "all are verified again", 10 * LIMIT_S, manager.log)
        again_s, asked = time.monotonic() - cut, exchange.requests("depth") - asked
        assert asked >= len(SYMBOLS)
        stats = exchange.stats()
        assert (stats["pauses"], stats["bans"]) == ([], [])
        assert stats["max_weight_in_a_minute"] <= stats["weight_limit"]

        manager.post(f"/batches/{books.batch_id}/stop")
        for number, one in enumerate(found.values()):
            ended = manager.finished(one["queue_id"])
            lost = [part for part in manager.coverage(one["queue_id"]) if part["verdict"] != "stored"]
            assert {(part["verdict"], part["cause"]) for part in lost} <= {("lost", "disconnect")}
            if number < COMPARED:
                stored_books.checked(manager, exchange, ended)
        print(
            f"\n{len(SYMBOLS)} books: verified after {first_s:.0f} s, again {again_s:.0f} s after a mass cut, for "
            f"which {asked} snapshots were asked for; at most {stats['max_weight_in_a_minute']} weight in a minute"
        )


if __name__ == "__main__":
    MADE = [SymbolSpec(symbol=s, base=s[:4], quote="USDT", listed_ms=LISTED_MS, trades_a_minute=16) for s in SYMBOLS]
    # What changes in two seconds in one message: 90 sinks of ten a second each need more than two cores.
    sys.exit(run(ExchangeConfig(symbols=tuple(MADE), diffs_every_ms=EVERY_MS), json_line=True))
