"""Others' clients that keep order books, as published, at the test exchange: their books, and ours, under faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from streamforge.exchange.config import ExchangeConfig
from streamforge.workers import loader_ws_orderbook
from streamforge_utils.model.messages import Live
from tests.delivery.streams.stand_in import Client, client
from tests.exchange.books import oracle
from tests.exchange.conftest import Peer, peer
from tests.limits import LIMIT_S
from tests.workers.test_orderbook import BookRig

SYMBOL = "BTCUSDT"
BOOKS = ("unicorn_book", "cryptofeed_book")
LEVELS = 20
DIFFS = "stream=*@depth*,after=30,count=1"


def struck(exchange: Peer) -> int:
    return sum(fault.struck for fault in exchange.state.faults.active)


def newest(running: Client) -> int:
    """The last update of the client's book; 0: it has none."""
    return (running.lines[-1]["u"] or 0) if running.lines else 0


async def assert_true(exchange: Peer, told: dict[str, Any]) -> None:
    """A book is the exchange's after the same update."""
    true = await oracle(exchange, SYMBOL, u=told["u"], limit=LEVELS)
    for side in ("bids", "asks"):
        assert told[side] == [[float(price), float(quantity)] for price, quantity in true[side]], (side, told["u"])


async def flow(exchange: Peer, running: Client, beyond: int) -> None:
    """Time passes until the client has a book of an update behind `beyond`, and goes on."""
    while newest(running) <= beyond:
        exchange.clock.advance(100)
        await running.step(0.1)


@asynccontextmanager
async def booked(name: str, fault: str, folder: Path) -> AsyncIterator[tuple[Peer, Client, int]]:
    """A client whose book was kept when the fault struck; and how many lines it had told by then."""
    config = ExchangeConfig(faults=(fault,) if fault else ())
    async with (
        asyncio.timeout(LIMIT_S),
        peer(config) as exchange,
        client(name, SYMBOL, exchange.exchange.port, folder / name) as running,
    ):
        await flow(exchange, running, 0)
        while fault and not struck(exchange):
            await flow(exchange, running, newest(running))
        yield exchange, running, len(running.lines)


def losses(lines: Sequence[dict[str, Any]]) -> int:
    """How often a client has said that it has no book, having had one."""
    return sum(before["u"] is not None and after["u"] is None for before, after in pairwise(lines))


@pytest.mark.parametrize("name", BOOKS)
async def test_books_are_the_exchanges(name: str, tmp_path: Path) -> None:
    async with booked(name, "", tmp_path) as (exchange, running, _):
        for _ in range(20):
            await flow(exchange, running, newest(running))
            await assert_true(exchange, running.lines[-1])
        assert losses(running.lines) == 0


async def ours(fault: str, folder: Path) -> tuple[Live, Live, set[str]]:
    """What loader-ws-orderbook tells before and after the fault, when its book is verified; and the ledger's causes."""
    async with peer(ExchangeConfig(faults=(fault,))) as exchange:
        rig = BookRig(folder / "ours", exchange.exchange)
        await rig.prepare()
        async with rig.working(loader_ws_orderbook.DEFINITION):
            await rig.verified(exchange)
            before = await rig.told()
            while not struck(exchange):
                exchange.clock.advance(100)
                await asyncio.sleep(0.05)
            exchange.clock.advance(1_000)  # where the connection was cut, nobody hears it
            await rig.verified(exchange)
            after = await rig.told()
            causes = await rig.causes()
        await rig.close()
    assert before is not None
    assert after is not None
    return before, after, causes


async def test_a_diff_that_comes_twice_costs_unicorn_its_book_and_ours_nothing(tmp_path: Path) -> None:
    fault = f"stream-duplicate:{DIFFS}"
    async with booked("unicorn_book", fault, tmp_path) as (exchange, running, told):
        while not losses(running.lines):
            await flow(exchange, running, newest(running))
        await flow(exchange, running, 0)
        await assert_true(exchange, running.lines[-1])
    async with booked("cryptofeed_book", fault, tmp_path) as (exchange, running, told):
        for _ in range(10):
            await flow(exchange, running, newest(running))
            await assert_true(exchange, running.lines[-1])
        assert len(running.lines) > told
    before, after, causes = await ours(fault, tmp_path)
    assert (after.suspect, after.snapshots, causes) == (0, before.snapshots, {""})
    assert after.duplicates >= 1


@pytest.mark.parametrize(
    ("fault", "cause"),
    [(f"stream-missing:{DIFFS}", "sequence gap"), (f"stream-reset:{DIFFS}", "disconnect")],
)
async def test_of_changes_that_are_lost_cryptofeed_tells_nothing_and_ours_has_the_cause(
    fault: str, cause: str, tmp_path: Path
) -> None:
    """Both take a new snapshot, and their books are right again. unicorn says meanwhile that it has none; cryptofeed
    hands the next book over as if nothing had been lost.
    """
    async with booked("unicorn_book", fault, tmp_path) as (exchange, running, _):
        while not losses(running.lines):
            exchange.clock.advance(100)
            await running.step(0.1)
        await flow(exchange, running, 0)
        await assert_true(exchange, running.lines[-1])
    async with booked("cryptofeed_book", fault, tmp_path) as (exchange, running, told):
        await flow(exchange, running, newest(running))
        for _ in range(10):
            await flow(exchange, running, newest(running))
            await assert_true(exchange, running.lines[-1])
        assert all(set(line) == {"u", "bids", "asks"} for line in running.lines[told:])
    _, after, causes = await ours(fault, tmp_path)
    assert (after.trust, causes) == ("verified", {"", cause})
