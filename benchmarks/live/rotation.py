"""Many streams whose connections are replaced at once: none may leave a gap."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Never

import msgspec

from benchmarks.common.bench import Bench
from benchmarks.common.exchange import config
from benchmarks.common.fresh import fresh
from benchmarks.common.measuring import Line, Section, Size, in_turn, median
from benchmarks.common.processes import exchange
from streamforge import wiring
from streamforge_utils.model.kinds.streaming import Heard
from streamforge_utils.model.kinds.trades import KIND
from streamforge_utils.model.series import Series
from streamforge_utils.ports.clock import SystemClock
from streamforge_utils.runtime.life.settings import ExchangeSettings
from streamforge_utils.runtime.live.stream_session import StreamSession
from streamforge_utils.runtime.live.stream_settings import StreamSettings
from streamforge_utils.runtime.telemetry.instruments import Instruments
from streamforge_utils.runtime.telemetry.logs import make_log

STREAMS = {Size.FULL: 100, Size.QUICK: 100, Size.TINY: 3}
ROUNDS = {Size.FULL: 2, Size.QUICK: 1, Size.TINY: 1}
TRADES_A_MINUTE = 300
ROTATE_S = {Size.FULL: 12.0, Size.QUICK: 12.0, Size.TINY: 0.5}
CONNECTS = 300
"""In five minutes, as the exchange allows an address."""
BEHIND = 3
"""So many trades of each stream are heard behind its rotation."""
LIMIT_S = 90.0


class Rotated(msgspec.Struct, frozen=True):
    """What became of the streams. whole: how many had each id once their connection was replaced, without being asked
    for anything. connections: that were made. seconds: from the first new connection to the last replaced one.
    """

    whole: int
    trades: int
    connections: int
    seconds: float


class _Ears:
    """Implements `Listener`: ids of the trades that came; interruptions: how often something may have been missed."""

    def __init__(self) -> None:
        self.ids: set[int] = set()
        self.interruptions = 0

    def hear(self, heard: Heard) -> None:
        self.ids.update(heard.positions)

    def interrupted(self) -> None:
        self.interruptions += 1

    async def newer(self) -> bool:
        return False

    def overdue(self) -> None:
        """None of the streams is silent."""

    @property
    def whole(self) -> bool:
        """Whether nothing lacks. The first connection counts as an interruption."""
        return self.interruptions == 1 and len(self.ids) == max(self.ids) - min(self.ids) + 1


def run(bench: Bench) -> Section:
    """Measure it."""
    count, rotate_s = STREAMS[bench.size], ROTATE_S[bench.size]

    def once() -> Rotated:
        with exchange(count, TRADES_A_MINUTE) as url:  # a new one, which has not counted connections yet
            return fresh(rotate, url, count, rotate_s)

    found = in_turn(
        ROUNDS[bench.size],
        {"rotation": partial(bench.undisturbed, once)},
        lambda _, one: bench.say(f"{one.whole} of {count} whole, {one.seconds:.2f} s"),
    )["rotation"]
    details = (
        f"{one.trades:,} trades on {one.connections} connections, {one.whole} streams without a gap, all replaced "
        f"within {one.seconds:.2f} s."
        for one in found
    )
    return Section(
        title="Rotation",
        how=(
            f"{count} sessions in a process, each with a stream of trades of its own symbol of the test exchange "
            f"(together {count * TRADES_A_MINUTE // 60:,} trades a second), replace their connections at once. "
            "A stream is without a gap if all its ids came on connections, so that nothing had to be asked for."
        ),
        lines=(
            Line(
                what=f"rotation of {count} streams at once: without a gap",
                measured=min(one.whole for one in found),
                unit="streams",
                at_least=count,
            ),
            Line(what="the same, from the first to the last", measured=median([s.seconds for s in found]), unit="s"),
        ),
        details=tuple(details),
    )


def rotate(url: str, count: int, rotate_s: float) -> Rotated:
    """Let the streams of so many symbols be replaced once."""
    return asyncio.run(_rotate(url, count, rotate_s))


async def _rotate(url: str, count: int, rotate_s: float) -> Rotated:
    clock, log = SystemClock(), make_log(form="json")
    stream = wiring.make_stream(StreamSettings(connects=CONNECTS), ExchangeSettings(urls=(url,)))
    ears = [_Ears() for _ in range(count)]
    sessions = [
        StreamSession(
            stream,
            KIND.streaming,
            Series(spec.symbol, "trades"),
            listener,
            clock=clock,
            progress=Instruments("benchmark", clock, log).progress,
            log=log,
            rotate_s=rotate_s,
        )
        for spec, listener in zip(config(count).symbols, ears, strict=True)
    ]
    tasks = [asyncio.create_task(session.run()) for session in sessions]
    try:
        async with asyncio.timeout(LIMIT_S):
            await _until(tasks, lambda: any(session.connections > 1 for session in sessions))
            began = time.perf_counter()
            await _until(tasks, lambda: all(session.rotations for session in sessions))
            seconds = time.perf_counter() - began
            heard = [max(one.ids) for one in ears]
            await _until(tasks, lambda: all(max(e.ids) >= h + BEHIND for e, h in zip(ears, heard, strict=True)))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await stream.close()
    return Rotated(
        whole=sum(one.whole for one in ears),
        trades=sum(len(one.ids) for one in ears),
        connections=sum(session.connections for session in sessions),
        seconds=seconds,
    )


async def _until(tasks: Sequence[asyncio.Task[Never]], true: Callable[[], bool]) -> None:
    while not true():
        for task in tasks:
            if task.done():  # it failed
                task.result()
        await asyncio.sleep(0.02)
