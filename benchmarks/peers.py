"""Other projects' clients, as processes of their own: `python -m benchmarks.peers URL START_MS END_MS`.

Prints one JSON object: how many candles ccxt fetched of the range, and in how many seconds.
"""

from __future__ import annotations

import subprocess
import sys
import time

import msgspec

from benchmarks.common.exchange import SYMBOL
from benchmarks.common.processes import ROOT
from streamforge_utils.model.timeranges import TimeRange
from tests.cleanenv import environment

_LIMIT_S = 480.0


class Fetched(msgspec.Struct, frozen=True):
    """seconds: of the requests alone, without the client's import and the list of markets."""

    candles: int
    seconds: float


def ccxt_fetch(url: str, span: TimeRange) -> Fetched:
    """Fetch 1m candles with ccxt, in a new process, from the exchange at `url`. Nothing is stored.

    Raises RuntimeError if the process fails.
    """
    command = [sys.executable, "-m", "benchmarks.peers", url, str(span.start_ms), str(span.end_ms)]
    done = subprocess.run(command, capture_output=True, cwd=ROOT, env=environment(), timeout=_LIMIT_S, check=False)
    if done.returncode:
        raise RuntimeError(f"ccxt ended with exit code {done.returncode}: {done.stderr.decode()[-2000:]}")
    return msgspec.json.decode(done.stdout, type=Fetched)


def _fetch(url: str, start_ms: int, end_ms: int) -> Fetched:
    import ccxt  # which takes seconds and 100 MB

    client = ccxt.binance({"enableRateLimit": False, "options": {"fetchMarkets": {"types": ["spot"]}}})
    client.urls["api"]["public"] = f"{url}/api/v3"
    client.load_markets()
    symbol = client.markets_by_id[SYMBOL][0]["symbol"]
    candles, since = 0, start_ms
    began = time.perf_counter()
    while since < end_ms:
        page = client.fetch_ohlcv(symbol, "1m", since=since, limit=1000)
        if not page:
            break
        candles += sum(row[0] < end_ms for row in page)
        since = page[-1][0] + 1
    return Fetched(candles, time.perf_counter() - began)


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.encode(_fetch(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))).decode())
