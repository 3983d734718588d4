"""Other projects' clients, each called in a new process; nothing is stored, and nothing is proven.

Time is that of the client's own calls, without its import and its list of markets. This module imports nothing that
the environment of `make bench-others` lacks.
"""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec

HOUR_MS = 3_600_000
_HOSTS = ("https://api.binance.com", "https://data.binance.vision")
_COUNTRY = "https://ipinfo.io/json"
"""Where binance-historical-data asks in which country it is."""


class Fetched(msgspec.Struct, frozen=True):
    """What a client got."""

    records: int
    seconds: float


def ccxt_candles(url: str, symbol: str, start_ms: int, end_ms: int) -> Fetched:
    """1m candles, page after page."""
    client, name = _ccxt(url, symbol)
    records, since, began = 0, start_ms, time.perf_counter()
    while since < end_ms:
        page = client.fetch_ohlcv(name, "1m", since=since, limit=1000)
        if not page:
            break
        records += sum(row[0] < end_ms for row in page)
        since = page[-1][0] + 1
    return Fetched(records, time.perf_counter() - began)


def ccxt_trades(url: str, symbol: str, start_ms: int, end_ms: int) -> Fetched:
    """Aggregated trades: the first by its time, then by id."""
    client, name = _ccxt(url, symbol)
    records, began = 0, time.perf_counter()
    page = client.fetch_trades(name, since=start_ms, limit=1000, params={"endTime": start_ms + HOUR_MS})
    while page:
        records += sum(one["timestamp"] < end_ms for one in page)
        if page[-1]["timestamp"] >= end_ms:
            break
        page = client.fetch_trades(name, limit=1000, params={"fromId": int(page[-1]["id"]) + 1})
    return Fetched(records, time.perf_counter() - began)


def _ccxt(url: str, symbol: str) -> tuple[Any, str]:
    import ccxt  # which takes seconds and 100 MB

    client = ccxt.binance({"enableRateLimit": False, "options": {"fetchMarkets": {"types": ["spot"]}}})
    client.urls["api"]["public"] = f"{url}/api/v3"
    client.load_markets()
    return client, client.markets_by_id[symbol][0]["symbol"]


def binance_candles(url: str, symbol: str, start_ms: int, end_ms: int) -> Fetched:
    """1m candles by python-binance, which sleeps a second after every third page."""
    with python_binance(url) as client:
        began = time.perf_counter()
        records = len(client.get_historical_klines(symbol, "1m", start_ms, end_ms - 1))
        return Fetched(records, time.perf_counter() - began)


def binance_trades(url: str, symbol: str, start_ms: int, end_ms: int) -> Fetched:
    """Aggregated trades by python-binance."""
    with python_binance(url) as client:
        records, began = 0, time.perf_counter()
        for trade in client.aggregate_trade_iter(symbol, start_str=start_ms):
            if trade["T"] >= end_ms:
                break
            records += 1
        return Fetched(records, time.perf_counter() - began)


@contextmanager
def python_binance(url: str) -> Iterator[Any]:
    """A client of python-binance that asks the exchange at `url`."""
    from binance.client import Client

    class LocalClient(Client):  # type: ignore[misc]
        API_URL = f"{url}/api"

    client = LocalClient()
    try:
        yield client
    finally:
        client.close_connection()
        client.loop.close()  # made for its WebSocket API and left open


def binance_files(url: str, symbol: str, start_ms: int, end_ms: int, folder: str) -> Fetched:
    """1m candles by binance-historical-data: it leaves the files of whole months, and of the days behind them.

    It is as published; only the addresses that it has built in are led to the exchange.
    """
    from binance_historical_data import BinanceDataDumper

    plain = urllib.request.urlopen

    def led(address: str, *more: Any, **named: Any) -> Any:
        for host in _HOSTS:
            address = address.replace(host, url)
        return plain(address.replace(_COUNTRY, "data:application/json,{}"), *more, **named)

    setattr(urllib.request, "urlopen", led)  # noqa: B010 - a type checker knows another signature
    first, last = (date(1970, 1, 1) + timedelta(milliseconds=time_ms) for time_ms in (start_ms, end_ms - 1))
    began = time.perf_counter()
    dumper = BinanceDataDumper(folder, asset_class="spot", data_type="klines", data_frequency="1m")
    dumper.dump_data(tickers=[symbol], date_start=first, date_end=last)
    seconds = time.perf_counter() - began
    return Fetched(sum(path.read_bytes().count(b"\n") for path in Path(folder).rglob("*.csv")), seconds)
