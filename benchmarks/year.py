"""A symbol-year of 1m candles, from the request to the proof that none is missing."""

from __future__ import annotations

from benchmarks.common.bench import Bench
from benchmarks.common.command import LIMIT_S, Run, load
from benchmarks.common.exchange import SYMBOL
from benchmarks.common.fresh import Fresh
from benchmarks.common.measuring import Line, Section, Size, median, per_second
from benchmarks.common.processes import exchange
from benchmarks.common.workflow import minutes
from benchmarks.peers import Fetched, ccxt_candles

YEAR = 525_600
CANDLES = {Size.FULL: YEAR, Size.QUICK: YEAR, Size.TINY: 1500}
ROUNDS = {Size.FULL: 3, Size.QUICK: 1, Size.TINY: 1}


def run(bench: Bench) -> Section:
    """Measure it."""
    candles = CANDLES[bench.size]

    def fetch() -> Fetched:
        with exchange() as url:
            span = minutes(candles)
            fetched = Fresh(limit_s=LIMIT_S)(ccxt_candles, url, SYMBOL, span.start_ms, span.end_ms)
        if fetched.records != candles:
            raise RuntimeError(f"ccxt fetched {fetched.records} of {candles} candles")
        return fetched

    runs: list[Run] = []
    fetches: list[Fetched] = []
    for number in range(1, ROUNDS[bench.size] + 1):
        runs.append(bench.undisturbed(lambda: load(bench, candles)))
        fetches.append(bench.undisturbed(fetch))
        bench.say(f"{number}/{ROUNDS[bench.size]}: {runs[-1].seconds:.2f} s, ccxt {fetches[-1].seconds:.2f} s")
    seconds = median([one.seconds for one in runs])
    fetching = median([one.seconds for one in fetches])
    return Section(
        title="A symbol-year",
        how=(
            "`streamforge load BTCUSDT api_candles_1m …` as a person types it, from its start to its end: the command "
            "with its manager, the loader and the sink as processes, and the test exchange as another one on the same "
            "cores. It ends with the proof that every candle is stored. The exchange runs without limits, and the "
            "manager deals out unlimited request weight: the real exchange would allow a year within one minute's "
            "weight, too. Beside it, in turn, ccxt fetches the same candles from the same exchange in a process of its "
            "own, page after page; it stores and proves nothing, and only its requests are timed."
        ),
        lines=(
            Line(what=f"{candles:,} candles, from request to proven coverage", measured=seconds, unit="s", below=10),
            Line(what="the same, against ccxt's fetch alone", measured=seconds / fetching, unit="times", below=1.2),
        ),
        details=(
            f"ccxt, each run: {', '.join(f'{one.seconds:.2f} s' for one in fetches)}.",
            f"Each run: {', '.join(f'{one.seconds:.2f} s' for one in runs)}; {per_second(candles, seconds)}.",
            f"Without the start of the command itself: {median([one.inside_s for one in runs]):.2f} s.",
        ),
    )
