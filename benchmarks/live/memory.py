"""Whether the memory of live workers grows in a day of an exchange that does everything wrong, on a fast clock."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import product, zip_longest
from pathlib import Path

import msgspec

from benchmarks.common.bench import Bench
from benchmarks.common.measuring import Line, Section, Size
from benchmarks.common.processes import ended, exchange, resident_mb, worker
from benchmarks.common.workflow import Workflow
from benchmarks.live.confirmations import make_topics
from streamforge.exchange.faults import FAULTS

HOUR_S = 3_600.0
EVERY_S = 0.2
WARM_UP = 0.25
"""Share of the run in which a process gets what it needs once, also for what goes wrong."""
PERCENT = 5.0
_OF_BARS = ("bar",)
_OF_BOOKS = ("diff", "ticker", "snapshot")
_OFTEN = ("stream-missing", "stream-duplicate", "stream-disordered", "stream-late", "stream-unknown", "stream-unit")
"""They end no connection."""
_ASKED = ("connect", "snapshot")
"""Stages of what is asked for now and then: three times each, before what makes workers ask."""
_OF_ANSWERS = ("answer", "body")
_NOT_OF_A_DAY = ("418", "451", "held", "waf")
"""A ban ends at a time of the exchange's clock, hours away from the worker's own; the firewall's takes five minutes
of the machine. 451 ends a loader for good, as it should, and `held` lasts until somebody switches it off."""
_OPTIONS = {
    "stream-silence": ("seconds=600",),
    "stream-stall": ("seconds=600",),
    "stall": ("seconds=1",),
    "drip": ("bytes=20000",),
}
"""Of an exchange whose minutes pass in a tenth of a second. Nothing for ever: it takes a minute of the machine to be
noticed, in which this exchange goes on by hours."""
HURRIED = ("-m", "benchmarks.live.hurried_worker")
MOST = 3
"""A busy machine comes later to the last faults: it has so many times the time."""
TINY_S = 2.0


class Case(msgspec.Struct, frozen=True):
    """Workers of a type. seconds: of the machine, for so many hours. of: the stages of faults that concern it alone."""

    type_name: str
    loader: str
    sink: str
    trades_a_minute: int
    seconds: float
    of: tuple[str, ...] = ()
    hours: int = 24

    @property
    def length(self) -> str:
        """For a person."""
        return "a day" if self.hours == 24 else f"{self.hours} hours"


TRADES = Case("ws_trades", "loader-ws-trades", "arango-trades", 100, 100.0)
CANDLES = Case("ws_candles_1m", "loader-ws-candles", "arango-candles", 20, 60.0, _OF_BARS)
BOOK = Case("ws_orderbook", "loader-ws-orderbook", "arango-orderbook", 16, 80.0, _OF_BOOKS, 4)
BOOKS = Case("ws_orderbook", "loader-ws-orderbook", "arango-orderbook", 16, 600.0, _OF_BOOKS)


def run(bench: Bench) -> Section:
    """Measure the workers of trades, of candles, and, for some hours, of an order book."""
    return _section(bench, TRADES, CANDLES, BOOK)


def run_books(bench: Bench) -> Section:
    """Measure the workers of an order book."""
    return _section(bench, BOOKS)


def _section(bench: Bench, *cases: Case) -> Section:
    lines, details = list[Line](), list[str]()
    for case in cases:
        with bench.folder() as folder, exchange(1, case.trades_a_minute, case.hours * HOUR_S / case.seconds) as url:
            samples = _watched(folder, url, case, bench.size)
            struck = _struck(url)
        if bench.size is not Size.TINY:
            check_struck(struck, case)
        for target, found in samples.items():
            first, last = thirds(found)
            bench.say(f"{target}: {first:.1f} MB, then {last:.1f} MB")
            lines += [
                Line(
                    what=f"{target}: growth of memory in {case.length} of faults, either way",
                    measured=100 * abs(last / first - 1),
                    unit="%",
                    below=PERCENT,
                ),
                Line(what=f"{target}: memory in the last third of {case.length}", measured=last, unit="MB"),
            ]
        details.append(
            f"{case.type_name}: {case.length} in {case.seconds:.0f} s; all {len(struck)} faults struck, "
            f"{sum(struck.values()):,} times in all; {len(samples[case.loader])} samples."
        )
    return Section(
        title=f"Memory of live workers ({', '.join(case.type_name for case in cases)})",
        how=(
            "A loader and its sink, each a process, load what the test exchange's streams give, whose clock runs so "
            "fast that hours pass in a minute; the loader's pauses before it connects again are a second at most, as "
            "they would be hours else, and a segment of a book is closed after a quarter of an hour of that clock. "
            "The exchange does everything wrong with its streams, its books and its answers that it can and that "
            "concerns them, but for bans and what never ends: what ends connections, and what spoils an answer, one "
            "after the other over that time, the rest all the time; what did not happen would be an error here. "
            "The mean of resident memory in the last third against that in the first, behind "
            f"a warm-up of {WARM_UP:.0%}."
        ),
        lines=tuple(lines),
        details=tuple(details),
    )


def check_struck(struck: Mapping[str, int], case: Case) -> None:
    """Raises RuntimeError naming the faults of that time that did not happen."""
    often, single = faults_of(case)
    if never := sorted(fault for fault in (*often, *single) if not struck.get(fault)):
        raise RuntimeError(f"{case.type_name}: in {case.length} not all went wrong that should: {', '.join(never)}")


def thirds(samples: Sequence[float]) -> tuple[float, float]:
    """The means of the first and of the last third behind the warm-up."""
    warm = samples[int(len(samples) * WARM_UP) :]
    third = max(1, len(warm) // 3)
    return statistics.mean(warm[:third]), statistics.mean(warm[-third:])


def faults_of(case: Case) -> tuple[list[str], list[str]]:
    """All that concern a type, of streams and of answers: of the whole time, and those that come one by one."""
    often, asked, answers, once = list[str](), list[str](), list[str](), list[str]()
    for name, kind in FAULTS.items():
        of_answers = kind.stage in _OF_ANSWERS and name not in _NOT_OF_A_DAY
        if not (kind.of_streams or of_answers) or (kind.stage in (*_OF_BARS, *_OF_BOOKS) and kind.stage not in case.of):
            continue
        for chosen in product(*([f"{key}={value}" for value in values] for key, values in kind.choices.items())):
            fault = f"{name}:{''.join(f'{one},' for one in (*chosen, *_OPTIONS.get(name, ())))}"
            if of_answers:
                answers.append(f"{fault}count=1")
            elif kind.stage in _ASKED:
                asked.append(f"{fault}count=3")
            elif name in _OFTEN or kind.stage in _OF_BARS:
                often.append(f"{fault}p={0.02 if kind.stage in _OF_BARS else 0.002}")
            else:
                once.append(f"{fault}count=1")
    pairs = zip_longest(answers, once)  # what fails is asked for anew, so one comes after the other
    return often, asked + [fault for pair in pairs for fault in pair if fault is not None]


def _watched(folder: Path, url: str, case: Case, size: Size) -> dict[str, list[float]]:
    """Megabytes of the workers, every `EVERY_S`, while single faults are switched on. A tiny run has few of them."""
    workflow = Workflow(folder, 1, type_name=case.type_name, loader=case.loader, sink=case.sink)
    asyncio.run(make_topics(workflow))
    quarter_s = (
        case.seconds / case.hours / 4
    )  # of the machine: after a quarter of an hour a segment of a book is closed
    settings = workflow.settings(
        TIME_RANGE="",
        STREAMFORGE_EXCHANGE_URL=url,
        STREAMFORGE_CONNECTS="300",
        STREAMFORGE_SEGMENT_SECONDS=str(quarter_s),
    )
    found: dict[str, list[float]] = {case.loader: [], case.sink: []}
    often, single = faults_of(case)
    for fault in often:
        _switch_on(url, fault)
    with ExitStack() as stack:
        processes = {target: stack.enter_context(ended(worker(target, settings, HURRIED))) for target in found}
        seconds = {Size.FULL: case.seconds, Size.QUICK: case.seconds / 2, Size.TINY: TINY_S}[size]
        began, on = time.monotonic(), 0
        while (passed := time.monotonic() - began) < seconds or (
            size is not Size.TINY and passed < MOST * seconds and not all(_struck(url).values())
        ):
            time.sleep(EVERY_S)
            # None in the first and the last tenth: before that are no connections, and each has to come.
            while on < min(len(single), int(len(single) * (passed / seconds - 0.1) / 0.8) + 1):
                _switch_on(url, single[on])
                on += 1
            for target, process in processes.items():
                if process.poll() is not None:
                    raise RuntimeError(f"{target} ended with exit code {process.returncode}")
                found[target].append(resident_mb(process.pid))
    return found


def _switch_on(url: str, fault: str) -> None:
    body = msgspec.json.encode({"fault": fault})
    with urllib.request.urlopen(f"{url}/control/faults", body, timeout=30):  # noqa: S310 - ours
        pass


def _struck(url: str) -> dict[str, int]:
    with urllib.request.urlopen(f"{url}/control/faults", timeout=30) as answer:  # noqa: S310 - ours
        faults = json.load(answer)["faults"]
    return {one["fault"]: one["struck"] for one in faults}
