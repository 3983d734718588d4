"""A symbol-year of 1m candles through a real broker, from the request to the proof that none is missing."""

from __future__ import annotations

from functools import partial

from benchmarks.common.bench import Bench
from benchmarks.common.command import load
from benchmarks.common.measuring import Line, Section, median, per_second
from benchmarks.kafka.engine import broker
from benchmarks.year import CANDLES, ROUNDS


def run(bench: Bench) -> Section:
    """Measure it."""
    candles, rounds = CANDLES[bench.size], ROUNDS[bench.size]
    runs = []
    with broker(bench) as kafka:
        for number in range(1, rounds + 1):
            runs.append(bench.undisturbed(partial(load, bench, candles, kafka)))
            bench.say(f"{number}/{rounds}: {runs[-1].seconds:.2f} s")
    seconds = median([one.seconds for one in runs])
    return Section(
        title="Kafka: a symbol-year",
        how=(
            "`streamforge load BTCUSDT api_candles_1m …` with KAFKA_BOOTSTRAP_SERVERS set, as on the embedded bus: the "
            "command with its manager, the loader and the sink as processes, the test exchange and the broker, all on "
            "the same cores. It ends with the proof that every candle is stored."
        ),
        lines=(
            Line(
                what=f"Kafka: {candles:,} candles, from request to proven coverage",
                measured=seconds,
                unit="s",
                below=15,
            ),
        ),
        details=(
            f"Each run: {', '.join(f'{one.seconds:.2f} s' for one in runs)}; {per_second(candles, seconds)}.",
            f"Without the start of the command itself: {median([one.inside_s for one in runs]):.2f} s.",
        ),
    )
