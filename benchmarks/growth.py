"""How the time to load grows with the range: from a day to ten years."""

from __future__ import annotations

from functools import partial

from benchmarks.common.bench import Bench
from benchmarks.common.command import Run, load
from benchmarks.common.measuring import Line, Section, Size, per_second, shown

DAY = 1440
RANGES = {
    Size.FULL: {"a day": DAY, "a month": 31 * DAY, "a year": 365 * DAY, "ten years": 3652 * DAY},
    Size.QUICK: {"a day": DAY, "a month": 31 * DAY, "a year": 365 * DAY},
    Size.TINY: {"an hour": 60, "two hours": 120},
}
LINEAR = 1.25
"""What the longest range may cost per candle against the one before it."""


def run(bench: Bench) -> Section:
    """Measure it."""
    runs: dict[str, Run] = {}
    for name, candles in RANGES[bench.size].items():
        runs[name] = bench.undisturbed(partial(load, bench, candles))
        bench.say(f"{name}: {runs[name].seconds:.2f} s")
    (before, shorter), (last, longest) = list(runs.items())[-2:]
    growth = (longest.seconds / longest.records) / (shorter.seconds / shorter.records)
    return Section(
        title="Growth",
        how=(
            "One load each as in the section above, into a new data directory. The weight limit is lifted: at the "
            "real exchange's limit ten years take at least three minutes, however fast we are."
        ),
        lines=(
            Line(what=f"time per candle, {last} against {before}", measured=growth, unit="times", below=LINEAR),
            Line(what=f"{last} ({longest.records:,} candles)", measured=longest.seconds, unit="s"),
        ),
        details=tuple(
            f"{name}: {one.records:,} candles in {one.seconds:.2f} s, {per_second(one.records, one.seconds)}, "
            f"{shown(one.seconds / one.records * 1e6, 's')} per million."
            for name, one in runs.items()
        ),
    )
