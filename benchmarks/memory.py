"""How much memory workers take: at rest, at full speed, and whether it grows."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common.bench import Bench
from benchmarks.common.measuring import Line, Section, Size, slope
from benchmarks.common.processes import children_of, ended, exchange, resident_mb, worker
from benchmarks.common.workflow import FILES, LOADER, SINK, Workflow
from streamforge import wiring
from streamforge_utils.runtime.life.server_settings import ArangoSettings

CANDLES = {Size.FULL: 5_000_000, Size.QUICK: 200_000, Size.TINY: 3000}
REST_S = {Size.FULL: 4.0, Size.QUICK: 2.0, Size.TINY: 0.5}
EVERY_S = 0.05
WARM_UP = 0.3
"""Share of the run after which nothing may grow any more."""
FLAT_MB = 5.0
"""Growth per million records that is called flat."""
LIMIT_S = 240.0

Samples = dict[str, list[tuple[float, float, int]]]
"""By target: share of the run's time, megabytes, and how many processes they are of."""


def run(bench: Bench) -> Section:
    """Measure it."""
    candles = CANDLES[bench.size]
    with exchange() as url:
        with bench.folder() as folder:
            rest = _at_rest(folder, url, REST_S[bench.size])
            bench.say(", ".join(f"{target} at rest {mb:.0f} MB" for target, mb in rest.items()))
        with bench.folder() as folder:
            samples = at_full_speed(folder, url, candles)
    most = {target: max(mb for _, mb, _ in found) for target, found in samples.items()}
    # A run is as many records as it has candles, brought at an even rate: x is the share of the run.
    growth = {target: growth_of(found, candles) for target, found in samples.items()}
    bench.say(", ".join(f"{target} {most[target]:.0f} MB, {growth[target]:+.2f} MB per million" for target in most))
    lines: list[Line] = []
    for target in (LOADER, SINK):
        lines += [
            Line(what=f"{target}: memory at rest", measured=rest[target], unit="MB", below=60),
            Line(what=f"{target}: most memory at full speed", measured=most[target], unit="MB", below=120),
            Line(
                what=f"{target}: growth of memory per million records",
                measured=growth[target],
                unit="MB",
                below=FLAT_MB,
            ),
        ]
    return Section(
        title="Memory",
        how=(
            "Resident memory of a worker with the processes that it starts, in 10⁶ bytes, read every 50 ms (what they "
            "share counts for each). At rest: the sink waits for records, the loader for request weight, its HTTP "
            "client loaded. At full speed: both bring "
            f"{candles:,} candles from the test exchange to the store. Growth: by least squares, "
            f"after the first {WARM_UP:.0%} of the run, while there are as many processes as mostly: a sink's helper "
            "ends when nothing waits, and comes back."
        ),
        lines=tuple(lines),
    )


def _at_rest(folder: Path, url: str, seconds: float) -> dict[str, float]:
    workflow = Workflow(folder, 1_000_000)
    asyncio.run(_prepare(workflow))
    loader = workflow.settings(STREAMFORGE_EXCHANGE_URL=url, STREAMFORGE_WEIGHT_PER_MINUTE="1")
    with ended(worker(SINK, workflow.settings())) as sink, ended(worker(LOADER, loader)) as loading:
        time.sleep(seconds)
        found = {SINK: resident_mb(sink.pid), LOADER: resident_mb(loading.pid)}
        if not all(found.values()):
            raise RuntimeError("a worker that was to rest has ended")
        return found


def at_full_speed(folder: Path, url: str, candles: int, arango: ArangoSettings = FILES) -> Samples:
    """Let a loader and a sink bring so many candles; their memory meanwhile."""
    workflow = Workflow(folder, candles, arango=arango)
    asyncio.run(_prepare(workflow))
    found: Samples = {SINK: [], LOADER: []}
    began = time.monotonic()
    with (
        ended(worker(SINK, workflow.settings())) as sink,
        ended(worker(LOADER, workflow.settings(STREAMFORGE_EXCHANGE_URL=url))) as loader,
    ):
        processes = {SINK: sink, LOADER: loader}
        while any(process.poll() is None for process in processes.values()):
            if time.monotonic() - began > LIMIT_S:
                raise RuntimeError(f"{candles} candles were not stored within {LIMIT_S:.0f} s")
            for target, process in processes.items():
                if megabytes := resident_mb(process.pid):
                    processes_now = 1 + len(children_of(process.pid))
                    found[target].append((time.monotonic() - began, megabytes, processes_now))
            time.sleep(EVERY_S)
        if codes := [process.returncode for process in processes.values() if process.returncode]:
            raise RuntimeError(f"a worker ended with exit code {codes[0]}")
    # The last sample of a process that leaves shows what it has let go of already.
    return {
        target: [(at / samples[-1][0], megabytes, number) for at, megabytes, number in samples[:-1]]
        for target, samples in found.items()
    }


def growth_of(samples: Sequence[tuple[float, float, int]], candles: int) -> float:
    """Megabytes by which memory grows with a million records, once a process has warmed up.

    Samples of another number of processes than there mostly are do not count: one more is no growth.
    """
    mostly = statistics.mode(number for _, _, number in samples)
    return slope([(at * candles / 1e6, mb) for at, mb, number in samples if at >= WARM_UP and number == mostly])


async def _prepare(workflow: Workflow) -> None:
    bus = wiring.make_bus(workflow.data)
    await workflow.make_topics(bus)
    await bus.close()
