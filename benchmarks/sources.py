"""A year of candles from the archive against the same by requests, and a day of very many trades from the archive."""

from __future__ import annotations

import json
import urllib.request

from benchmarks.common.bench import Bench
from benchmarks.common.command import Run, load_series
from benchmarks.common.measuring import Line, Section, Size, median, per_second
from benchmarks.common.processes import exchange
from benchmarks.common.workflow import TYPE
from streamforge_utils.model.timeranges import TimeRange, parse_time_range

YEAR = {Size.FULL: "2024", Size.QUICK: "2024", Size.TINY: "2024-08-01:2024-08-11"}
TRADES_A_MINUTE = {Size.FULL: 1667, Size.QUICK: 1667, Size.TINY: 32}
"""1,667 are 2.4 million a day: as many as BTCUSDT has."""
DAY = "2024-08-01"
ROUNDS = {Size.FULL: 3, Size.QUICK: 1, Size.TINY: 1}
MOST_REQUESTS = 4
RECORDS = ("/api/v3/klines", "/api/v3/aggTrades", "/api/v3/historicalTrades")


def run(bench: Bench) -> Section:
    """Measure it."""
    span = parse_time_range(YEAR[bench.size])
    candles = (span.end_ms - span.start_ms) // 60_000
    files: list[tuple[Run, int]] = []
    requests: list[tuple[Run, int]] = []
    days: list[tuple[Run, int]] = []
    for number in range(1, ROUNDS[bench.size] + 1):
        files.append(bench.undisturbed(lambda: _load(bench, TYPE, span, archive=True, records=candles)))
        requests.append(bench.undisturbed(lambda: _load(bench, TYPE, span, archive=False, records=candles)))
        days.append(bench.undisturbed(lambda: _load(bench, "api_trades", parse_time_range(DAY), archive=True)))
        shown = ", ".join(f"{one[-1][0].seconds:.2f} s" for one in (files, requests, days))
        bench.say(f"{number}/{ROUNDS[bench.size]}: files, requests, trades: {shown}")
    ratio = median([one.seconds / other.seconds for (one, _), (other, _) in zip(files, requests, strict=True)])
    trades = days[0][0].records
    day_s = median([one.seconds for one, _ in days])
    return Section(
        title="Sources",
        how=(
            "`streamforge load` as a person types it, from its start to its end, with the test exchange and its "
            "archive as another process on the same cores, which makes the files while they are asked for. Each run "
            "has a new exchange, a new data directory and an empty cache. It ends with the proof that every record is "
            "stored."
        ),
        lines=(
            Line(what="a year of 1m candles from files, against requests", measured=ratio, unit="times", below=1.2),
            Line(
                what="requests for records of that year, with files",
                measured=max(count for _, count in files),
                unit="requests",
                below=MOST_REQUESTS,
            ),
            Line(
                what=f"{trades / 1e6:.2f} million trades of a day, from request to proof",
                measured=day_s,
                unit="s",
                below=30,
            ),
        ),
        details=(
            f"{candles:,} candles: from files {_seconds(files)}; by {requests[0][1]} requests {_seconds(requests)}.",
            f"{trades:,} trades: {_seconds(days)}; {per_second(trades, day_s)}.",
        ),
    )


def _load(
    bench: Bench, type_name: str, span: TimeRange, *, archive: bool, records: int | None = None
) -> tuple[Run, int]:
    """Load a range, and count the requests for records that the exchange answered."""
    with exchange(trades_a_minute=TRADES_A_MINUTE[bench.size] if records is None else 32) as url:
        settings = {"STREAMFORGE_ARCHIVE_URL": url} if archive else {}
        loaded = load_series(bench, url, type_name, span, records=records, **settings)
        with urllib.request.urlopen(f"{url}/control/stats") as answer:  # noqa: S310
            served = json.load(answer)
    of_records = [by for name, by in served["requests"].items() if name in RECORDS]
    return loaded, sum(sum(by.values()) for by in of_records)


def _seconds(runs: list[tuple[Run, int]]) -> str:
    return ", ".join(f"{one.seconds:.2f} s" for one, _ in runs)
