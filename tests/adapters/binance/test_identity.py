"""An answer of another exchange counts for nothing: not as data, and not as a word about a symbol, a ban or a limit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from streamforge_utils.adapters.binance import Retries
from streamforge_utils.model.errors import BannedError, InvalidInput, OtherExchange, RetryableError
from streamforge_utils.ports.exchange import Identity
from tests.adapters.binance.scripted import NOW, OPENS, Bench, Handler, always, answer, bench, error, listed, opens

THEIRS = {"X_StreamForge_Exchange": "seed 7"}


def refusals(name: dict[str, str]) -> dict[str, Handler]:
    """What an exchange that gives itself this name may refuse with."""
    banned = "Way too much request weight used; IP banned until 1722513690000."
    return {
        "an unknown symbol": always(lambda: error(400, -1121, "Invalid symbol.", **name)),
        "a ban": always(lambda: error(418, -1003, banned, Retry_After="60", **name)),
        "a pause": always(lambda: error(429, -1003, "Too many requests.", Retry_After="60", **name)),
        "a fault": always(lambda: error(503, -1008, "Server is currently overloaded.", **name)),
        "a row": always(lambda: answer([], 200, **name)),
    }


@asynccontextmanager
async def met(identity: Identity, attempts: int = 3) -> AsyncIterator[Bench]:
    """A client that has met `seed 1`."""
    async with bench(NOW, retries=Retries(attempts=attempts), identity=identity) as made:
        listed(made)
        made.server.name = "seed 1"
        assert await opens(made) == OPENS
        made.server.asked.clear()
        yield made


@pytest.mark.parametrize("refusal", refusals(THEIRS))
async def test_another_exchange_is_named_before_anything_it_says_counts(refusal: str) -> None:
    identity = Identity("seed 1")
    async with met(identity) as made:
        made.server.used_weight = 6000
        made.server.expect("klines", refusals(THEIRS)[refusal])
        with pytest.raises(
            OtherExchange, match=f"{made.url} is the exchange `seed 7`, and the data here are of `seed 1`"
        ):
            await opens(made)
        assert (made.server.paths(), identity.met) == (["klines"], "seed 7")
        began = made.clock.monotonic()
        made.server.used_weight = 2
        # The right one is asked at once: no ban, no pause and no weight of the other one counts.
        assert await opens(made) == OPENS
        assert (made.clock.monotonic() - began, identity.met) == (0, "seed 1")


async def test_one_without_a_name_that_speaks_as_an_exchange_is_another_one() -> None:
    async with met(Identity("seed 1")) as made:
        made.server.name = None
        made.server.expect("klines", refusals({})["an unknown symbol"])
        with pytest.raises(OtherExchange, match="is the exchange `localhost:"):
            await opens(made)
    identity = Identity()
    async with bench(NOW, identity=identity) as made:
        await made.client.server_time()
        assert identity.met == f"localhost:{made.url.rpartition(':')[2]}"


@pytest.mark.parametrize("status", [403, 502])
async def test_what_stands_before_an_exchange_is_no_other_one(status: int) -> None:
    """It has no name and does not speak as an exchange does."""
    identity = Identity("seed 1")
    async with met(identity, attempts=1) as made:
        made.server.name = None
        made.server.expect("klines", always(lambda: web.Response(status=status, text="<html>gateway</html>")))
        with pytest.raises(BannedError if status == 403 else RetryableError) as told:
            await opens(made)
        assert not isinstance(told.value, OtherExchange)
        assert identity.met == "seed 1"


async def test_what_the_expected_exchange_refuses_counts() -> None:
    async with met(Identity("seed 1"), attempts=1) as made:
        made.server.expect("klines", refusals({})["an unknown symbol"])
        with pytest.raises(InvalidInput):
            await opens(made)
        made.server.expect("klines", refusals({})["a ban"])
        with pytest.raises(BannedError):
            await opens(made)
        made.server.asked.clear()
        with pytest.raises(BannedError):
            await opens(made)
        assert made.server.asked == []
