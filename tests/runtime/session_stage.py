"""A session of streams on a virtual clock, and who listens to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from streamforge_utils.model.kinds.registry import kind_named
from streamforge_utils.model.kinds.streaming import Heard
from streamforge_utils.model.series import Series
from streamforge_utils.runtime.live.stream_session import Overdue, StreamSession
from tests.doubles.instruments import instruments
from tests.doubles.stream import ScriptedConnection, ScriptedStream
from tests.doubles.virtualclock import VirtualClock
from tests.doubles.virtualloop import VirtualLoop

SERIES = Series("BTCUSDT", "trades")
START_MS = 1_722_470_400_000


def trade(number: int) -> bytes:
    data = {"e": "trade", "s": "BTCUSDT", "t": number, "p": "1.5", "q": "2", "T": START_MS + number, "m": True}
    return msgspec.json.encode({"stream": "btcusdt@trade", "data": data})


class Ears:
    """heard: positions, in the order in which they came. interruptions: after how many positions each was told.

    has: what the exchange answers, whether it has something newer; an exception is raised. owes: a stream is silent.
    """

    def __init__(self) -> None:
        self.heard: list[int] = []
        self.refused: list[str] = []
        self.interruptions: list[int] = []
        self.has: bool | Exception = False
        self.asked = 0
        self.owes: Overdue | None = None

    def hear(self, heard: Heard) -> None:
        self.heard += heard.positions
        self.refused += [reason for _, reason in heard.refused]

    def interrupted(self) -> None:
        self.interruptions.append(len(self.heard))

    def overdue(self) -> Overdue | None:
        return self.owes

    async def newer(self) -> bool:
        self.asked += 1
        if isinstance(self.has, Exception):
            raise self.has
        return self.has


class Stage:
    """A session on a virtual clock; draw: what its dice give."""

    def __init__(self, loop: VirtualLoop, *, draw: float = 1.0) -> None:
        self.clock = VirtualClock(loop, START_MS)
        self.stream = ScriptedStream(self.clock)
        self.ears = Ears()
        self.instruments = instruments(self.clock)
        streaming = kind_named("trades").streaming
        assert streaming is not None
        self.session = StreamSession(
            self.stream,
            streaming,
            SERIES,
            self.ears,
            clock=self.clock,
            progress=self.instruments.progress,
            log=self.instruments.log,
            draw=lambda: draw,
        )

    @property
    def waiting(self) -> str | None:
        return self.instruments.progress.snapshot().waiting

    async def connection(self, number: int, within_s: float = 10_000.0) -> ScriptedConnection:
        """The connection of that number, once it is made."""
        async with asyncio.timeout(within_s):
            while len(self.stream.connections) < number:
                await self.clock.sleep(0.1)
        return self.stream.connections[number - 1]


Act = Callable[[Stage], Awaitable[None]]


def play(act: Act, *, draw: float = 1.0) -> Stage:
    """The stage after the act, beside which the session ran; it has ended, and with it every connection."""

    async def run() -> Stage:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        stage = Stage(loop, draw=draw)
        running = asyncio.create_task(stage.session.run())
        acting = asyncio.ensure_future(act(stage))
        try:
            await asyncio.wait({running, acting}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
            await acting
        finally:
            acting.cancel()
            running.cancel()
            await asyncio.gather(running, acting, return_exceptions=True)
        assert not stage.stream.live
        return stage

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(run())
