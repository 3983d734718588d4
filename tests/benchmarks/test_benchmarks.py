"""Every benchmark runs, and what it measures can be true; how much that is, is not a matter of tests."""

from __future__ import annotations

import pytest

from benchmarks import growth
from benchmarks.__main__ import BENCHMARKS
from benchmarks.common.bench import Bench
from benchmarks.common.command import Run
from benchmarks.common.measuring import Size


@pytest.mark.parametrize("name", sorted(BENCHMARKS.keys() - {"growth"}))
def test_a_tiny_run_measures_something_sane(name: str) -> None:
    section = BENCHMARKS[name](Bench(Size.TINY, quiet=True))
    assert section.lines
    for line in section.lines:
        if "growth" not in line.what:
            assert 0 < line.measured < {"%": 400, "s": 30, "ms": 5000, "MB": 500}[line.unit], line


def test_growth_compares_the_longest_range_with_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {60: 1.0, 120: 3.0}
    monkeypatch.setattr(growth, "load", lambda _, candles: Run(candles, seconds[candles], 0.5))
    section = growth.run(Bench(Size.TINY, quiet=True))
    times, total = section.lines
    assert (times.measured, times.unit, times.passed) == (1.5, "times", False)
    assert (total.measured, total.passed) == (3.0, None)
    assert section.details == (
        "an hour: 60 candles in 1.00 s, 60/s, 16,667 s per million.",
        "two hours: 120 candles in 3.00 s, 40/s, 25,000 s per million.",
    )
