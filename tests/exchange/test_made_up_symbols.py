"""Symbols that are made up: hundreds of them at once, delisted and not yet listed ones among them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from streamforge.exchange.config import ExchangeConfig
from streamforge.exchange.made_up_symbols import made_up_symbols
from tests.exchange.conftest import MINUTE, NOW, ms, peer
from tests.exchange.listings import keys


def test_the_same_number_gives_the_same_symbols_and_more_go_on_from_there() -> None:
    many = list(made_up_symbols(20_000))
    assert len({spec.symbol for spec in many}) == 20_000
    assert many[:500] == [*made_up_symbols(500)]
    assert Counter(spec.quote for spec in many[:500]) == {"USDT": 300, "BTC": 50, "FDUSD": 50, "EUR": 50, "TRY": 50}
    assert {spec.status for spec in many if spec.delisted_ms is not None} == {"BREAK"}
    assert all(spec.listed_ms < spec.delisted_ms for spec in many if spec.delisted_ms is not None)


async def test_hundreds_of_symbols_are_served_by_rest_and_archive() -> None:
    specs = {spec.symbol: spec for spec in made_up_symbols(500)}
    async with peer(ExchangeConfig(symbols_extra=500)) as exchange:
        told: Any = (await exchange.get("/api/v3/exchangeInfo")).json["symbols"]
        found = {symbol["symbol"]: symbol["status"] for symbol in told if symbol["symbol"] in specs}
        alone = {name for name, spec in specs.items() if spec.unlisted and spec.listed_ms <= NOW}
        listed = {name for name, spec in specs.items() if spec.listed_ms <= NOW and not spec.unlisted}
        assert found.keys() == listed
        assert 400 < len(listed) < 500
        gone = {name for name in listed if (specs[name].delisted_ms or NOW + 1) <= NOW}
        assert {name for name, status in found.items() if status == "BREAK"} == gone
        assert len(gone) > 20

        folder = "data/spot/monthly/klines/"
        archived = {key.split("/")[-2] for key in await keys(exchange, prefix=folder, delimiter="/")}
        assert gone | alone <= archived & specs.keys() <= listed | alone
        assert len(alone) > 5
        assert (await exchange.klines(symbol=min(alone))).json["code"] == -1121
        one = next(spec for spec in specs.values() if spec.symbol in gone)
        assert one.delisted_ms is not None
        last = await exchange.klines(symbol=one.symbol, limit=1)
        assert last.opens == [one.delisted_ms - MINUTE]
        later = next(spec for spec in specs.values() if spec.listed_ms > NOW)
        assert (await exchange.klines(symbol=later.symbol)).json["code"] == -1121
        exchange.clock.set(ms("2036-01-01"))
        assert (await exchange.klines(symbol=later.symbol, limit=1)).status == 200
