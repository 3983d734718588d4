"""From request to proof, against what other projects' clients need to fetch the same records, or the same files."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from benchmarks.common.bench import Bench
from benchmarks.common.command import load_series
from benchmarks.common.exchange import SYMBOL
from benchmarks.common.fresh import Fresh
from benchmarks.common.measuring import Line, Section, Size, in_turn, median
from benchmarks.common.processes import exchange
from benchmarks.common.workflow import TYPE
from benchmarks.kafka import others
from benchmarks.peers import Fetched, binance_candles, binance_files, binance_trades, ccxt_candles, ccxt_trades
from streamforge_utils.model.timeranges import parse_time_range

ROUNDS = {Size.FULL: 3, Size.QUICK: 1, Size.TINY: 1}
TRADES_A_MINUTE = {Size.FULL: 200, Size.QUICK: 60, Size.TINY: 1}
MONTH = {Size.FULL: "2024-08", Size.QUICK: "2024-08", Size.TINY: "2024-08-01"}
FILES = {
    Size.FULL: "2024-01-01:2025-01-02",
    Size.QUICK: "2024-01-01:2024-04-02",
    Size.TINY: "2024-01-01:2024-02-02",
}
"""Whole months, and a day: binance-historical-data takes the last month that it is asked for by days."""
LIMIT_S = 480.0

_Fetch = Callable[[str, str, int, int], Fetched]


class _Case(msgspec.Struct, frozen=True):
    """What is loaded, and who fetches the same."""

    what: str
    type_name: str
    span: str
    peers: dict[str, _Fetch]
    files: bool = False


def run(bench: Bench) -> Section:
    """Measure it. Raises RuntimeError where a client is missing, or got other records."""
    size, call = bench.size, Fresh(limit_s=LIMIT_S)

    def download(url: str, symbol: str, start_ms: int, end_ms: int) -> Fetched:
        with bench.folder() as folder:
            by = Fresh(others.PYTHON, others.PYTHONPATH, limit_s=LIMIT_S)
            return by(binance_files, url, symbol, start_ms, end_ms, str(folder))

    def client(fetch: _Fetch) -> _Fetch:
        return lambda *asked: call(fetch, *asked)

    cases = [
        _Case(
            "aggregated trades of a day, by requests",
            "api_agg_trades",
            "2024-08-01",
            {"ccxt": client(ccxt_trades), "python-binance": client(binance_trades)},
        ),
        _Case(
            "1m candles of a month, by requests",
            TYPE,
            MONTH[size],
            {"ccxt": client(ccxt_candles), "python-binance": client(binance_candles)},
        ),
    ]
    if others.PYTHON.exists():
        cases.append(
            _Case("1m candles from files of months", TYPE, FILES[size], {"binance-historical-data": download}, True)
        )
    elif size is not Size.TINY:
        raise RuntimeError("binance-historical-data is missing: make bench-others")
    lines: list[Line] = []
    details: list[str] = []
    for case in cases:
        found = _measured(bench, case)
        ours = [one.seconds for one in found.pop("ours")]
        told = [f"StreamForge {median(ours):.2f} s"]
        for name, them in found.items():
            seconds = [one.seconds for one in them]
            ratio = median([one / other for one, other in zip(ours, seconds, strict=True)])
            lines.append(Line(what=f"{case.what}: proven, against {name}'s fetch alone", measured=ratio, unit="times"))
            told.append(f"{name} {median(seconds):.2f} s")
        details.append(f"{case.what}, {them[0].records:,} records: {', '.join(told)}.")
    return Section(
        title="Other clients",
        how=(
            "`streamforge load` as a person types it, from its start to its end, which is the proof that every record "
            "is stored, against other projects' clients, which fetch the same from the same test exchange without "
            "limits, in a process of their own, and store at most files; only their own calls are timed. They are used "
            "as published: python-binance sleeps a second after every third page of candles, and asks for 500 trades "
            "at a time. Each run has a new exchange, whose archive makes its files while they are asked for."
        ),
        lines=tuple(lines),
        details=tuple(details),
    )


def _measured(bench: Bench, case: _Case) -> dict[str, list[Fetched]]:
    span = parse_time_range(case.span)

    def ours(url: str, symbol: str, start_ms: int, end_ms: int) -> Fetched:
        settings = {"STREAMFORGE_ARCHIVE_URL": url} if case.files else {}
        loaded = load_series(bench, url, case.type_name, span, records=None, **settings)
        return Fetched(loaded.records, loaded.seconds)

    def new(fetch: _Fetch) -> Callable[[], Fetched]:
        def once() -> Fetched:
            with exchange(trades_a_minute=TRADES_A_MINUTE[bench.size]) as url:
                return fetch(url, SYMBOL, span.start_ms, span.end_ms)

        return lambda: bench.undisturbed(once)

    runs = {name: new(fetch) for name, fetch in {"ours": ours, **case.peers}.items()}
    found = in_turn(ROUNDS[bench.size], runs, lambda name, one: bench.say(f"{case.what}, {name}: {one.seconds:.2f} s"))
    if len(records := {one.records for them in found.values() for one in them}) != 1:
        raise RuntimeError(f"{case.what}: not all got the same number of records: {sorted(records)}")
    return found
