"""Whether the memory of live workers grows in a day of an exchange that does everything wrong, on a fast clock."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import product
from pathlib import Path

import msgspec

from benchmarks.common.bench import Bench
from benchmarks.common.measuring import Line, Section, Size
from benchmarks.common.processes import ended, exchange, resident_mb, worker
from benchmarks.common.workflow import Workflow
from benchmarks.live.confirmations import make_topics
from streamforge.exchange.faults import FAULTS

DAY_S = 86_400.0
EVERY_S = 0.2
WARM_UP = 0.1
"""Share of the run in which a process gets what it needs once."""
PERCENT = 5.0
_OF_BARS = ("bar",)
_OF_BOOKS = ("diff", "ticker", "snapshot")
_OFTEN = ("stream-missing", "stream-duplicate", "stream-disordered", "stream-late", "stream-unknown", "stream-unit")
"""They end no connection."""
_ASKED = ("connect", "snapshot")
"""Stages of what is asked for now and then."""
_OPTIONS = {"stream-silence": ("seconds=600",), "stream-stall": ("seconds=600",)}
"""Of an exchange whose minutes pass in a tenth of a second. Nothing for ever: it takes a minute of the machine to be
noticed, in which this exchange goes on by hours."""


class Case(msgspec.Struct, frozen=True):
    """Workers of a type. seconds: of the machine, for the day. events: that come on streams in it, about: a third of
    them, as connections that fail are made again after pauses of the machine's time.
    """

    type_name: str
    loader: str
    sink: str
    trades_a_minute: int
    seconds: float
    events: int
    books: bool


TRADES = Case("ws_trades", "loader-ws-trades", "arango-trades", 100, 120.0, 50_000, False)
BOOKS = Case("ws_orderbook", "loader-ws-orderbook", "arango-orderbook", 16, 600.0, 300_000, True)
TINY_S = 2.0


def run(bench: Bench) -> Section:
    """Measure the workers of trades."""
    return _section(bench, TRADES)


def run_books(bench: Bench) -> Section:
    """Measure the workers of an order book."""
    return _section(bench, BOOKS)


def _section(bench: Bench, case: Case) -> Section:
    seconds, speed = (TINY_S if bench.size is Size.TINY else case.seconds), DAY_S / case.seconds
    faults = faults_of(case)
    with bench.folder() as folder, exchange(1, case.trades_a_minute, speed, faults) as url:
        samples = _watched(folder, url, case, seconds)
        struck = _struck(url)
    lines: list[Line] = []
    for target, found in samples.items():
        first, last = thirds(found)
        bench.say(f"{target}: {first:.1f} MB, then {last:.1f} MB")
        lines += [
            Line(
                what=f"{target}: growth of memory in a day of faults, either way",
                measured=100 * abs(last / first - 1),
                unit="%",
                below=PERCENT,
            ),
            Line(what=f"{target}: memory in the last third of that day", measured=last, unit="MB"),
        ]
    return Section(
        title=f"Memory of live workers ({case.type_name})",
        how=(
            f"{case.loader} and {case.sink}, each a process, load what the test exchange's streams give, whose clock "
            f"runs {speed:,.0f} times as fast as the machine's: a day passes in {case.seconds:.0f} s. It does "
            "everything wrong that it can: what ends connections once or more in that day, the rest all the time. The "
            f"mean of resident memory in the last third against that in the first, behind a warm-up of {WARM_UP:.0%}."
        ),
        lines=tuple(lines),
        details=(
            f"{len(struck)} of {len(faults)} faults struck, {sum(struck):,} times in all; "
            f"{len(samples[case.loader])} samples.",
        ),
    )


def thirds(samples: Sequence[float]) -> tuple[float, float]:
    """The means of the first and of the last third behind the warm-up."""
    warm = samples[int(len(samples) * WARM_UP) :]
    third = max(1, len(warm) // 3)
    return statistics.mean(warm[:third]), statistics.mean(warm[-third:])


def faults_of(case: Case) -> list[str]:
    """All that concern the streams of a type; those that end connections, once each, are spread over the day."""
    often, once = list[str](), list[str]()
    for name, kind in FAULTS.items():
        if not kind.of_streams or kind.stage in _OF_BARS or (kind.stage in _OF_BOOKS and not case.books):
            continue
        for chosen in product(*([f"{key}={value}" for value in values] for key, values in kind.choices.items())):
            options = (*chosen, *_OPTIONS.get(name, ()))
            chance = 0.1 if kind.stage in _ASKED else 0.002 if name in _OFTEN else None
            fault = f"{name}:{''.join(f'{one},' for one in options)}"
            if chance is None:
                once.append(fault)
            else:
                often.append(f"{fault}p={chance}")
    step = case.events // (len(once) + 2)
    return often + [f"{fault}after={step * (place + 1)},count=1" for place, fault in enumerate(once)]


def _watched(folder: Path, url: str, case: Case, seconds: float) -> dict[str, list[float]]:
    """Megabytes of the workers, every `EVERY_S`."""
    workflow = Workflow(folder, 1, type_name=case.type_name, loader=case.loader, sink=case.sink)
    asyncio.run(make_topics(workflow))
    settings = workflow.settings(TIME_RANGE="", STREAMFORGE_EXCHANGE_URL=url, STREAMFORGE_CONNECTS="300")
    found: dict[str, list[float]] = {case.loader: [], case.sink: []}
    with ExitStack() as stack:
        processes = {target: stack.enter_context(ended(worker(target, settings))) for target in found}
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            time.sleep(EVERY_S)
            for target, process in processes.items():
                if process.poll() is not None:
                    raise RuntimeError(f"{target} ended with exit code {process.returncode}")
                found[target].append(resident_mb(process.pid))
    return found


def _struck(url: str) -> list[int]:
    with urllib.request.urlopen(f"{url}/control/faults", timeout=30) as answer:  # noqa: S310 - ours
        faults = json.load(answer)["faults"]
    return [one["struck"] for one in faults if one["struck"]]
