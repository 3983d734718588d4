"""The settings of the test exchange: symbols, holes, limits, clock, faults."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.timeranges import TimeRange, parse_time_range

WEIGHT_LIMIT = 6_000
"""Request weight per minute and address that Binance Spot allows."""


CONNECT_LIMIT = 300
"""Connections to its streams that Binance allows an address in five minutes."""
MESSAGE_LIMIT = 5
"""Messages a second that it takes on one of them."""


class SymbolSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A symbol of the seeded exchange.

    listed_ms, delisted_ms: first instant with trades, first instant without (None: still traded). unix ms, UTC.
    price: what the seeded price wanders around. price_decimals, quantity_decimals: the tick and the step.
    trades_a_minute: on the average, 16 at least. trades_from_ms: REST gives no trades before this instant.
    unlisted: REST does not know it, and the archive keeps its files.
    """

    symbol: str
    base: str
    quote: str
    listed_ms: int
    delisted_ms: int | None = None
    status: str = "TRADING"
    price: float = 100.0
    price_decimals: int = 2
    quantity_decimals: int = 5
    trades_a_minute: int = 32
    trades_from_ms: int = 0
    unlisted: bool = False


def _spec(base: str, listed_ms: int, price: float, *, decimals: int = 2, delisted_ms: int | None = None) -> SymbolSpec:
    return SymbolSpec(
        symbol=f"{base}USDT",
        base=base,
        quote="USDT",
        listed_ms=listed_ms,
        delisted_ms=delisted_ms,
        status="BREAK" if delisted_ms is not None else "TRADING",
        price=price,
        price_decimals=decimals,
    )


DEFAULT_SYMBOLS: tuple[SymbolSpec, ...] = (
    _spec("BTC", 1_502_942_400_000, 42_000.0),  # 2017-08-17T04:00Z, as on Binance
    _spec("ETH", 1_502_942_400_000, 2_300.0),
    _spec("BNB", 1_509_940_440_000, 310.0),  # 2017-11-06T03:54Z
    _spec("SOL", 1_597_125_600_000, 95.0),  # 2020-08-11T06:00Z
    _spec("NEW", 1_710_497_220_000, 3.2, decimals=4),  # 2024-03-15T10:07Z: not at the start of an hour or a day
    _spec("OLD", 1_551_398_400_000, 0.75, decimals=4, delisted_ms=1_656_547_200_000),  # 2019-03-01 to 2022-06-30
    SymbolSpec(
        symbol="这是测试币456",
        base="这是测试币",
        quote="456",
        listed_ms=1_704_067_200_000,  # 2024-01-01
        price=7.5,
        price_decimals=4,
    ),
)

ANY_SYMBOL = "*"


def instant_ms(text: str) -> int:
    """ISO 8601 as unix ms; UTC where no zone is given. Raises InvalidInput."""
    try:
        moment = datetime.fromisoformat(text)
        return round((moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise InvalidInput("now", f"instant {text[:80]!r} is not ISO 8601, e.g. 2024-08-01T12:00:00Z") from error


def parse_hole(text: str) -> tuple[str, TimeRange]:
    """Read `SYMBOL@START:END` (`*` for every symbol), e.g. `BTCUSDT@2024-08-01T02:00Z:2024-08-01T04:00Z`.

    Raises InvalidInput.
    """
    symbol, given, span = text.partition("@")
    if not symbol or not given:
        raise InvalidInput("hole", f"hole {text[:80]!r} is not understood: write SYMBOL@START:END, or * for the symbol")
    return symbol, parse_time_range(span)


class ExchangeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a test exchange.

    port: 0 takes a free one; it always listens on the loopback address.
    seed: the same seed gives the same candles, on every run. replay: serve the recordings of this folder instead.
    now_ms: where the exchange's clock starts (unix ms); None is the machine's own clock.
    holes: downtime by symbol (`*` for all): no candle that lies wholly inside is ever returned. Seeded data only.
    weight_limit: request weight per minute; None never refuses.
    faults: `NAME[:key=value,...]`, see `faults.FAULTS`.
    symbols_extra: so many symbols more, made up (see `made_up_symbols`); seeded data only.
    trades_a_minute: of every symbol, instead of its own; None: its own. 1667 are the 2.4 million a day of BTCUSDT.
    diffs_every_ms: the shortest time from one diff of an order book to the next, beyond 100 also from one best level to
    the next; seeded data only.
    speed: of its clock; 1440 lets a day pass in a minute. Infinite: it moves on whenever all that is due on the streams
    has been taken, as fast as the clients read; after the last event of a replay it runs at speed 1.
    connect_limit: connections to its streams in five minutes; message_limit: messages of a client in a second of the
    exchange's clock, pings and pongs included. None never refuses.
    pong_s: how long a client may take to answer a ping, in seconds of the machine, before the minute of the exchange's
    clock that it has counts: a clock that jumps by a day cuts nobody who answers.
    tls: a folder; the exchange listens on a second port too, with TLS, and writes `ca.pem` there: what to trust.
    """

    port: int = 0
    seed: int = 1
    symbols: tuple[SymbolSpec, ...] = DEFAULT_SYMBOLS
    replay: Path | None = None
    now_ms: int | None = None
    holes: Mapping[str, tuple[TimeRange, ...]] = {}
    weight_limit: int | None = WEIGHT_LIMIT
    faults: tuple[str, ...] = ()
    symbols_extra: int = 0
    trades_a_minute: int | None = None
    diffs_every_ms: int = 100
    speed: float = 1.0
    connect_limit: int | None = CONNECT_LIMIT
    message_limit: int | None = MESSAGE_LIMIT
    pong_s: float = 60.0
    tls: Path | None = None
