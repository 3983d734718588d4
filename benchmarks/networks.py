"""What learning on graphs costs: a step of the attention network beside PyTorch Geometric's, and the whole ladder."""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.common.bench import Bench
from benchmarks.common.fresh import Fresh
from benchmarks.common.measuring import Line, Section, Size
from benchmarks.common.processes import ROOT

PYTHON = ROOT / "build" / "gnn-env" / "bin" / "python"
NODES = {Size.FULL: 400, Size.QUICK: 400, Size.TINY: 15}
ROUNDS = {Size.FULL: 5, Size.QUICK: 2, Size.TINY: 1}
STEPS = {Size.FULL: 100, Size.QUICK: 30, Size.TINY: 2}
TOP_K, FEATURES = 10, 8
COINS = {Size.FULL: 300, Size.QUICK: 60, Size.TINY: 15}
DAYS = {Size.FULL: 1096, Size.QUICK: 300, Size.TINY: 30}
SEEDS = (0, 1, 2, 3, 4)
PROCESSES = 2
LIMIT_S = 3600.0
_fresh = Fresh(PYTHON, limit_s=LIMIT_S)


def run_gat(bench: Bench) -> Section:
    """Measure a step."""
    size = bench.size
    nodes, steps = NODES[size], STEPS[size]

    def measured() -> list[tuple[float, float]]:
        found = [(_fresh(ours, nodes, steps), _fresh(of_geometric, nodes, steps)) for _ in range(ROUNDS[size])]
        for one, other in found:
            bench.say(f"a step: ours {one:.2f} ms, PyTorch Geometric {other:.2f} ms")
        return found

    found = bench.undisturbed(measured)
    own, others = (statistics.median(side) for side in zip(*found, strict=True))
    return Section(
        title="A step of the attention network",
        how=(
            f"{nodes} coins with {FEATURES} features, to each coin edges from {TOP_K} others; two layers of GATv2 with "
            "four heads, 16 wide, ELU, and a linear one: forward, backward and Adam, in CPU time of one thread, the "
            "median of a process. The other side is `GATv2Conv` of PyTorch Geometric, with the same edges and sizes."
        ),
        lines=(
            Line(what="ours / PyTorch Geometric", measured=own / others, unit="times", below=1.0),
            Line(what="a step", measured=own, unit="ms"),
        ),
        details=(f"PyTorch Geometric: {others:.2f} ms.",),
    )


def run_ladder(bench: Bench) -> Section:
    """Measure all models of the ladder, and how soon a training without an end is stopped."""
    coins, days = COINS[bench.size], DAYS[bench.size]

    def measured() -> tuple[float, str]:
        began = time.monotonic()
        outcome = _fresh(finished, coins, days, PROCESSES)
        return time.monotonic() - began, outcome

    seconds, outcome = bench.undisturbed(measured)
    bench.say(f"{seconds:.0f} s: {outcome}")
    stops = bench.undisturbed(lambda: [_fresh(stopped) for _ in range(ROUNDS[bench.size])])
    bench.say(f"stopped in {', '.join(f'{one:.2f}' for one in stops)} s")
    return Section(
        title="The ladder",
        how=(
            f"{coins} made-up coins, {days} daily decisions, {len(SEEDS)} seeds, walk-forward in folds of half a year "
            "after a year: all naive models, ridge, LightGBM, and the attention network without edges, with shuffled, "
            f"random and true ones, with the switchboard; from bars to the card, models learn in {PROCESSES} processes "
            "of one thread each. `stop`: a gnn-trainer whose network learns for ever in as many, from the command on "
            "the bus until it has ended and said so; the longest of all rounds."
        ),
        lines=(
            Line(what="the ladder on three years of daily data", measured=seconds, unit="s", below=900.0),
            Line(what="`stop` while it trains", measured=max(stops), unit="s", below=1.0),
        ),
        details=(f"Its verdict: {outcome}.",),
    )


def ours(nodes: int, steps: int) -> float:
    """The median milliseconds of a step of our network."""
    _one_thread()
    from streamforge.analytics.networks.attention import AttentionModel, AttentionSettings

    # Each of the samples is a step, and nothing is held out: a hook before each tells the time.
    told = list[float]()
    settings = AttentionSettings(epochs=1, batch=1, held=0)
    model = AttentionModel(settings, 0, on_batch=lambda: told.append(time.process_time()))
    model.fit(_samples(nodes) * -(-(steps + 11) // 5))
    return _median(told[10:])


def of_geometric(nodes: int, steps: int) -> float:
    """The same by layers of PyTorch Geometric."""
    _one_thread()
    import numpy as np
    import torch
    from torch_geometric.nn import GATv2Conv

    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    layers: Any = [GATv2Conv(FEATURES, 16, heads=4, residual=True), GATv2Conv(64, 16, heads=4, residual=True)]
    last: Any = torch.nn.Linear(64, 1)
    optimizer = torch.optim.Adam([one for layer in (*layers, last) for one in layer.parameters()], lr=0.003, fused=True)
    given = [
        (
            torch.from_numpy(one.features.astype(np.float32)),
            torch.from_numpy(np.stack([one.edges.sources, one.edges.targets]).astype(np.int64)),
            torch.from_numpy(one.target.astype(np.float32)),
        )
        for one in _samples(nodes)
    ]
    told = list[float]()
    for number in range(steps + 11):
        told.append(time.process_time())
        features, edges, target = given[number % len(given)]
        optimizer.zero_grad()
        found = features
        for layer in layers:
            found = torch.nn.functional.elu(layer(found, edges))
        apart = last(found)[:, 0] - target
        loss = 12 * torch.nanmean(apart * apart)
        loss.backward()
        optimizer.step()
        float(loss.detach())
    return _median(told[10:])


def finished(coins: int, days: int, processes: int) -> str:
    """The verdict, once all models have learnt."""
    _one_thread()
    from streamforge.analytics.models.evaluation import evaluated
    from streamforge.analytics.models.ladder_processes import LadderProcesses

    with LadderProcesses(processes) as pool:
        return str(evaluated(*_market(coins, days), processes=pool)[0].verdict.outcome)


def stopped() -> float:
    """Seconds from the command until the worker has ended."""
    _one_thread()
    from tests.gnn.endless import stop_an_endless_training

    with tempfile.TemporaryDirectory(prefix="streamforge-bench-") as folder:
        return asyncio.run(stop_an_endless_training(Path(folder), PROCESSES))


def _market(coins: int, days: int) -> tuple[Any, Any, Any, Any]:
    from streamforge.analytics.models.baselines import baselines
    from streamforge.analytics.models.boosted_trees import boosted_trees
    from streamforge.analytics.models.card import EvaluationSettings
    from streamforge.analytics.models.folds import FoldRules
    from streamforge.analytics.models.neighbour_mean import on_graph
    from streamforge.analytics.networks.attention import AttentionSettings, attention
    from tests.analytics.models.markets import dataset_of, definition, moves, panel_of

    made = definition(
        top_k=min(TOP_K, coins - 1),
        features=[
            "return_1",
            "return_5",
            "return_20",
            "volatility_10",
            "volatility_30",
            "volume_1",
            "volume_5",
            "volume_20",
        ],
    )
    panel = panel_of(moves(days + 43, coins, 7, group=0.1))
    dataset = dataset_of(panel, made)
    chosen = AttentionSettings()
    contenders = [
        *baselines(dataset.definition.graph),
        boosted_trees(),
        *on_graph(attention(chosen), seeded=True, settings=chosen.text()),
    ]
    folds = FoldRules(test=max(5, days // 6), least_train=max(10, days // 3))
    return dataset, panel, contenders, EvaluationSettings(folds=folds, seeds=SEEDS)


def _samples(nodes: int) -> list[Any]:
    """Five moments."""
    import numpy as np

    from streamforge.analytics.graphs.selection import Edges
    from streamforge.analytics.models.dataset import Sample, centred_ranks

    generator, found = np.random.default_rng(7), list[Any]()
    for number in range(5):
        sources = np.argsort(generator.random((nodes, nodes)) + 2 * np.eye(nodes), axis=1)[:, :TOP_K]
        targets = np.repeat(np.arange(nodes), TOP_K)
        edges = Edges(*(one.astype(np.int32) for one in (sources.reshape(-1), targets, np.ones(nodes * TOP_K))))
        features, returns = generator.normal(size=(nodes, FEATURES)), generator.normal(size=nodes)
        symbols = tuple(f"C{coin:03}" for coin in range(nodes))
        found.append(Sample(number, symbols, centred_ranks(features), edges, True, returns, centred_ranks(returns)))
    return found


def _median(told: list[float]) -> float:
    return 1000 * statistics.median(after - before for before, after in pairwise(told))


def _one_thread() -> None:
    """Before the arithmetic is imported."""
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
