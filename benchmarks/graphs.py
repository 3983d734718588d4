"""What a graph of assets costs: CPU seconds of one core, against the same correlations by polars and pandas."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import graph_store
from benchmarks.common.bench import Bench
from benchmarks.common.fresh import Fresh
from benchmarks.common.measuring import Line, Section, Size
from streamforge_utils.runtime.life.worker_process import tune_interpreter

COINS = {Size.FULL: 400, Size.QUICK: 400, Size.TINY: 12}
HOURS = {Size.FULL: 8_760, Size.QUICK: 600, Size.TINY: 30}
COMPARED = {Size.FULL: 200, Size.QUICK: 60, Size.TINY: 10}
"""Snapshots that polars and pandas make, too."""
WINDOW, TOP_K = 168, 10
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
START_MS = 1_672_531_200_000  # 2023-01-01
_HOLES, _AFTER_HOLES = slice(50, None, 100), slice(51, None, 100)
"""Bars that lack, and those whose return lacks with them."""
_fresh = Fresh(limit_s=1800.0)


class Spent(msgspec.Struct, frozen=True):
    """CPU seconds of one thread. snapshots: how many were made for them."""

    cpu_s: float
    snapshots: int

    @property
    def each(self) -> float:
        return self.cpu_s / self.snapshots


def run(bench: Bench) -> Section:
    """Measure it."""
    size = bench.size
    coins, hours, compared = COINS[size], HOURS[size], COMPARED[size]

    whole: list[graph_store.Built] = []

    def measured() -> dict[str, Spent]:
        found = {"year": _fresh(hourly, coins, hours), "ours": _fresh(hourly, coins, compared)}
        found |= {"polars": _fresh(by_polars, coins, compared), "pandas": _fresh(by_pandas, coins, compared)}
        found |= {
            "holes": _fresh(hourly, coins, compared, True),
            "pandas, holes": _fresh(by_pandas, coins, compared, True),
        }
        with bench.folder() as folder:
            found["appended"] = _fresh(appended, coins, max(3, hours // 24), str(folder))
            bars = _fresh(graph_store.fill, str(folder / "data"), coins, max(3, hours // 24))
            stored = _fresh(graph_store.built, str(folder / "data"))
            bench.say(f"{bars:,} bars to {stored.edges:,} edges: {stored.cpu_s:.2f} s of CPU, {stored.rss_mb:.0f} MB")
            whole.append(stored)
        for name, one in found.items():
            bench.say(f"{name}: {one.cpu_s:.2f} s of CPU for {one.snapshots:,} snapshots")
        return found

    spent = bench.undisturbed(measured)
    ours = spent["ours"].each
    return Section(
        title="Graphs",
        how=(
            f"{coins} made-up coins, 1h bars, Pearson correlation over {WINDOW} returns, to each coin from the {TOP_K} "
            "others whose correlation is largest: CPU seconds of a process with one thread and a worker's settings, "
            "without its start and the bars. polars and pandas correlate the same windows (`DataFrame.corr`), and "
            "numpy chooses the largest, for "
            f"{compared:,} snapshots. Holes: one bar in a hundred lacks. A day appended: the files of daily snapshots "
            f"of {max(3, hours // 24)} days are "
            "there, and those of the month of the new one are made, with all measures. From stored bars: CPU seconds "
            "of the worker's whole process, which reads the 1h bars from the embedded store and stores daily snapshots "
            "as documents, edges and files."
        ),
        lines=(
            Line(what=f"{hours:,} hourly snapshots", measured=spent["year"].cpu_s, unit="s", below=15.0),
            Line(what="polars / ours", measured=spent["polars"].each / ours, unit="times", at_least=1.0),
            Line(what="pandas / ours", measured=spent["pandas"].each / ours, unit="times", at_least=1.0),
            Line(
                what="the same, where each tenth coin has holes",
                measured=spent["pandas, holes"].each / spent["holes"].each,
                unit="times",
                at_least=1.0,
            ),
            Line(what="from stored bars to daily snapshots and edges", measured=whole[-1].cpu_s, unit="s", below=10.0),
            Line(what="its memory at most", measured=whole[-1].rss_mb, unit="MB", below=400.0),
            Line(what="a day appended to daily snapshots", measured=spent["appended"].cpu_s, unit="s", below=0.5),
        ),
        details=(
            f"A snapshot: ours {1000 * ours:.2f} ms; with holes {1000 * spent['holes'].each:.2f} ms.",
            f"{whole[-1].edges:,} edges were stored within {whole[-1].wall_s:.1f} s.",
        ),
    )


def hourly(coins: int, snapshots: int, holes: bool = False) -> Spent:
    """Make so many snapshots, each an hour after the one before. holes: a bar in a hundred of each tenth coin lacks."""
    _prepare_process()
    from streamforge.analytics.graphs.definition import read_definition
    from streamforge.analytics.graphs.snapshot import SnapshotBuilder

    panel = _panel(coins, WINDOW + 2 + snapshots, holes)
    definition = read_definition({"interval": "1h", "window": WINDOW, "step": 1, "top_k": TOP_K, "measures": False})
    times = [START_MS + (WINDOW + 2 + number) * HOUR_MS for number in range(snapshots)]
    builder = SnapshotBuilder(definition)
    began = time.process_time()
    edges = sum(len(one.edges.sources) for one in builder.series(panel, times))
    spent = Spent(time.process_time() - began, snapshots)
    if edges < coins * snapshots:
        raise RuntimeError(f"{edges} edges were made of {coins} coins in {snapshots} snapshots")
    return spent


def by_polars(coins: int, snapshots: int) -> Spent:
    """The same correlations and choice by polars."""
    _prepare_process()
    import polars

    frame = polars.DataFrame({f"C{number:03}": column for number, column in enumerate(_returns(coins, snapshots).T)})
    return _compared(snapshots, lambda first: frame.slice(first, WINDOW).corr().to_numpy())


def by_pandas(coins: int, snapshots: int, holes: bool = False) -> Spent:
    """The same correlations and choice by pandas."""
    _prepare_process()
    import pandas

    returns = _returns(coins, snapshots)
    if holes:
        returns[_HOLES, ::10] = returns[_AFTER_HOLES, ::10] = float("nan")
    frame = pandas.DataFrame(returns)
    return _compared(snapshots, lambda first: frame.iloc[first : first + WINDOW].corr().to_numpy(copy=True))


def appended(coins: int, days: int, folder: str) -> Spent:
    """Append a day to the daily snapshots of `days` days, whose files are there already."""
    _prepare_process()
    from streamforge.analytics.graphs.definition import read_definition
    from streamforge.analytics.graphs.graph_assembly import GraphBuilder
    from streamforge_utils.adapters.object_storage.object_folder import ObjectFolder

    definition = read_definition({"interval": "1h", "window": WINDOW, "step": 24, "top_k": TOP_K})
    first_ms = START_MS + 10 * DAY_MS
    panel = _panel(coins, 24 * (11 + days))
    made: list[int] = []

    async def nothing(_: Any) -> None:
        """No document is stored."""

    async def holds(*_: Any) -> bool:
        return True

    async def noted(entry: Any) -> None:
        made.append(entry.snapshots)

    def build(end_ms: int) -> None:
        builder = GraphBuilder("bench", definition, ObjectFolder(Path(folder)), nothing, holds)
        asyncio.run(builder.build(panel, "api_candles_1h", (first_ms, end_ms), {}, noted))

    build(first_ms + days * DAY_MS)
    began = time.process_time()
    build(first_ms + (days + 1) * DAY_MS)
    return Spent(time.process_time() - began, 1)


def _compared(snapshots: int, correlate: Callable[[int], Any]) -> Spent:
    import numpy as np

    began = time.process_time()
    for first in range(snapshots):
        matrix = correlate(first)
        np.fill_diagonal(matrix, -1.0)
        places = np.argpartition(matrix, len(matrix) - TOP_K, axis=1)[:, -TOP_K:]
        np.take_along_axis(matrix, places, axis=1)
    return Spent(time.process_time() - began, snapshots)


def _returns(coins: int, snapshots: int) -> Any:
    import numpy as np

    generator = np.random.default_rng(7)
    rows = WINDOW + snapshots
    return 0.01 * (0.5 * generator.normal(size=(rows, 1)) + generator.normal(size=(rows, coins)))


def _panel(coins: int, rows: int, holes: bool = False) -> Any:
    returns = _returns(coins, rows)[:rows]
    import numpy as np

    from streamforge.analytics.graphs.panel import Bars, Panel

    closes = 100 * np.exp(np.cumsum(returns, axis=0))
    times = START_MS + HOUR_MS * np.arange(rows)
    some = np.delete(np.arange(rows), _HOLES) if holes else slice(None)
    there = [some if coin % 10 == 0 else slice(None) for coin in range(coins)]
    bars = {
        f"C{coin:03}": Bars(times[own], closes[own, coin], np.full(rows, 1e6)[own]) for coin, own in enumerate(there)
    }
    return Panel.of(bars, start_ms=START_MS, end_ms=START_MS + rows * HOUR_MS, bar_ms=HOUR_MS)


def _prepare_process() -> None:
    """Settings of a worker's process, for whichever side is measured; before the arithmetic is imported."""
    tune_interpreter()
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
    os.environ |= dict.fromkeys(names, "1")
