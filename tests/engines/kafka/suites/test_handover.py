"""Loaders that are handed over, on the secured broker; its network holds what one of them is writing as it dies."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import backends
from tests.e2e import rig, stored_books
from tests.e2e.test_handover import *  # noqa: F403 - every test and fixture of it
from tests.e2e.test_handover import assert_verified, hand_over_to_one_that_is_ready
from tests.e2e.test_live import QUICK as SETTINGS
from tests.e2e.test_live import TRADES, assert_equal, is_live, is_proven_beyond, start, stored
from tests.engines.kafka.broker import Broker
from tests.engines.proxy import Proxy

QUICK = frozenset({"test_what_a_loader_was_writing_as_it_died_is_there_once"})
HELD_MS = 500
"""So long the exchange goes on while what the loader writes does not arrive."""


def is_sampled(item: pytest.Function) -> bool:
    """One makes a bus of its own."""
    return item.originalname != "test_an_order_book_stays_verified_and_its_chain_of_diffs_goes_on"


@pytest.fixture
def proxied(
    exchange: rig.Exchange, secured_broker: Broker, secured_proxy: Proxy, tmp_path: Path
) -> Iterator[rig.Manager]:
    """A manager whose way to the broker is the proxy."""
    settings = SETTINGS | {"STREAMFORGE_HOLE_SECONDS": "60"}
    with (
        backends.on_bus(secured_broker.environment(proxied=True)),
        rig.manager(tmp_path / "data", exchange.url, **settings) as found,
    ):
        yield found


@contextmanager
def stalled(exchange: rig.Exchange, proxy: Proxy) -> Iterator[None]:
    """A block in which nothing reaches the broker, while more happens at the exchange; it arrives behind the block."""
    proxy.stall()
    try:
        until_ms = exchange.stats()["now_ms"] + HELD_MS
        rig.eventually(lambda: exchange.stats()["now_ms"] > until_ms or None, "the exchange goes on")
        yield
    finally:
        proxy.heal()


@pytest.mark.parametrize("type_name", [pytest.param("ws_trades", marks=pytest.mark.long), "ws_orderbook"])
def test_what_a_loader_was_writing_as_it_died_is_there_once(
    type_name: str, exchange: rig.Exchange, proxied: rig.Manager, secured_proxy: Proxy
) -> None:
    dying = stalled(exchange, secured_proxy)
    if type_name == "ws_orderbook":
        queue_id = stored_books.start(proxied)
        proxied.until(queue_id, "it is verified", stored_books.is_verified)
        hand_over_to_one_that_is_ready(proxied, queue_id, stored_books.LOADER, dying)
        assert_verified(exchange, proxied, queue_id)
        return
    queue_id = start(proxied, type_name)
    proxied.until(queue_id, "it is live", is_live)
    hand_over_to_one_that_is_ready(proxied, queue_id, TRADES, dying)
    written = proxied.show(queue_id)["live"]["last_id"]
    proxied.until(queue_id, "it goes on", lambda one: is_proven_beyond(written + 60, one))
    ended = proxied.stopped(queue_id)
    assert_equal(exchange, stored(proxied, ended))
    assert rig.step(ended, "arango-trades")["progress"]["unchanged"] == 0  # no record was on the topic twice
