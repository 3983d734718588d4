"""What every loader of streams does: a session, repair beside it, writing, and an end in order."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any, Generic, NoReturn, TypeVar

import msgspec

from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.model.kinds.streaming import Heard
from streamforge_utils.model.messages import Live
from streamforge_utils.ports.bus import Received
from streamforge_utils.runtime.life.context import Context
from streamforge_utils.runtime.live.backfill import Backfill
from streamforge_utils.runtime.live.exchange_time import ExchangeTime
from streamforge_utils.runtime.live.stream_session import ROTATE_S, Overdue, StreamSession

TRADING = "TRADING"
_LOGGED = 5
SHADOW_LOOK_S = 1.0
"""How often what another attempt has written is looked at."""
SHADOW_RECORDS = 100
"""So many records are read each time: many shadows may do that at once."""
_REASON_CHARACTERS = 200
FLUSH_S = 2.0
"""What is ready may take so long to be written at the end; a worker has some more to stop."""


class LiveParameters(msgspec.Struct, frozen=True, kw_only=True):
    """What can be chosen for a loader of streams."""

    limit: Annotated[
        int,
        msgspec.Meta(ge=1, le=1000, description="records asked for at once where the streams lack some; also `LIMIT`"),
        msgspec.Meta(extra={"unit": "records"}),
    ] = 1000
    rotate_seconds: Annotated[
        float,
        msgspec.Meta(gt=0, description="the age at which a connection is replaced; the exchange ends it after a day"),
        msgspec.Meta(extra={"unit": "seconds"}),
    ] = ROTATE_S
    buffer_bytes: Annotated[
        int,
        msgspec.Meta(ge=0, description="records held in memory while they cannot be written"),
        msgspec.Meta(extra={"unit": "bytes"}),
    ] = 32_000_000
    spill_bytes: Annotated[
        int,
        msgspec.Meta(
            ge=0,
            description="records held on disk beyond that; more is dropped and counted: trades are asked for later, "
            "diffs of an order book are lost",
        ),
        msgspec.Meta(extra={"unit": "bytes"}),
    ] = 48_000_000


P = TypeVar("P", bound=LiveParameters)


class LiveWorker(ABC, Generic[P]):
    """A loader of the streams of one series; it is the listener of its session."""

    def __init__(self, ctx: Context[P]) -> None:
        streaming = ctx.kind.streaming
        if streaming is None:
            raise PermanentError(f"{ctx.type}: the exchange has no streams of {ctx.kind.name}")
        self._ctx = ctx
        self._ready = asyncio.Event()
        self._connected = asyncio.Event()
        self._begun = asyncio.Event()
        self._follows = False
        self._began_ms = ctx.clock.now_ms()
        self._closing = False
        self._refused, self._refusal = 0, ""
        self._time = ExchangeTime(ctx.exchange, ctx.clock)
        self._backfill = Backfill(
            ctx.exchange,
            ctx.series,
            clock=ctx.clock,
            progress=ctx.progress,
            log=ctx.log,
            weight_per_minute=lambda: ctx.weight_per_minute,
        )
        self._session = StreamSession(
            ctx.stream,
            streaming,
            ctx.series,
            _Listener(self),
            clock=ctx.clock,
            progress=ctx.progress,
            log=ctx.log,
            offset_ms=lambda: self._time.offset_ms,
            rotate_s=ctx.parameters.rotate_seconds,
        )

    async def run(self) -> None:
        """Work until cancelled, then write what is ready."""
        self._ctx.progress.live = self.told
        writing = asyncio.create_task(self._write(), name="write")
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._time.follow(), name="time")
                tasks.create_task(self._session.run(), name="session")
                tasks.create_task(self._begin(), name="begin")
                tasks.create_task(self.repair(), name="repair")
                tasks.create_task(self._check_symbol(), name="symbol")
                await asyncio.shield(writing)
        finally:
            self._closing = True
            self._ready.set()
            await asyncio.wait([writing], timeout=FLUSH_S)
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            self.close()

    async def _begin(self) -> None:
        """Find where to go on, once no other attempt writes."""
        await self._shadow()
        await self.begin()
        self._begun.set()
        self._ready.set()

    async def _shadow(self) -> None:
        """Return once this attempt may write; until then, tell whether what it holds follows what is written."""
        ctx = self._ctx
        told = asyncio.create_task(ctx.handover.wait(), name="takeover")
        try:
            while ctx.handover.in_shadow:
                try:
                    follows = self._connected.is_set() and await self.follows(await ctx.tail.look(SHADOW_RECORDS))
                except RetryableError as error:
                    ctx.log.warning("what another attempt has written is not known", error=str(error))
                    follows = False
                if follows is not self._follows:
                    self._follows = follows
                    await ctx.report({})
                pause = asyncio.create_task(ctx.clock.sleep(SHADOW_LOOK_S), name="look")
                await asyncio.wait({told, pause}, return_when=asyncio.FIRST_COMPLETED)
                pause.cancel()
        finally:
            told.cancel()

    async def _check_symbol(self) -> None:
        """Raises PermanentError where the exchange does not list the symbol: its streams would be silent for ever."""
        try:
            info = await self._ctx.exchange.symbol_info(self._ctx.symbol)
        except RetryableError as error:
            self._ctx.log.warning("whether there is such a symbol is not known", error=str(error))
            return
        if info.status != TRADING:
            self._ctx.log.warning("the symbol is not traded now", symbol=info.symbol, status=info.status)

    async def _write(self) -> None:
        """Write until it is to end and nothing is left; nothing before it has begun."""
        while True:
            while self._begun.is_set() and await self.write():
                pass
            if self._closing:
                return
            self._ready.clear()
            await self._ready.wait()

    def refuse(self, heard: Heard) -> int:
        """Count and log what can never be a record; returns how many messages these are."""
        for payload, reason in heard.refused:
            self._refused += 1
            self._refusal = reason[:_REASON_CHARACTERS]
            if self._refused <= _LOGGED:
                self._ctx.log.warning("a message was refused", reason=reason, payload=payload[:200].decode("latin-1"))
        return len(heard.refused)

    def told_by_all(self) -> dict[str, Any]:
        """What events say of every loader of streams."""
        age_s = self._session.frame_age_s
        return {
            "last_time": self._ctx.progress.position,
            "frame_age_s": None if age_s is None else round(age_s, 3),
            "reconnects": max(0, self._session.connections - 1 - self._session.rotations),
            "rotations": self._session.rotations,
            "failure": self._session.failure,
            "refused": self._refused,
            "refusal": self._refusal,
            "clock_offset_ms": self._time.offset_ms,
            "shadow": ("ready" if self._follows else "waiting") if self._ctx.handover.in_shadow else "",
            "leaving": self._ctx.handover.leaving,
        }

    def _position_of(self, record: Received) -> int | None:
        """The position of a record on the topic; None: it is none of the kind's."""
        return self._ctx.kind.position_of((record.key or b"").decode(errors="replace"))

    @abstractmethod
    def hear(self, heard: Heard) -> None:
        """As `Listener.hear`."""

    @abstractmethod
    def interrupted(self) -> None:
        """As `Listener.interrupted`."""

    @abstractmethod
    async def newer(self) -> bool:
        """As `Listener.newer`."""

    def overdue(self) -> Overdue | None:
        """As `Listener.overdue`."""
        return None

    @abstractmethod
    async def begin(self) -> None:
        """Find where to go on: behind what is on the topic."""

    @abstractmethod
    async def follows(self, messages: Sequence[Received]) -> bool:
        """Whether what is held follows the last records on the topic without a gap; those themselves are let go.

        Raises RetryableError.
        """

    @abstractmethod
    async def repair(self) -> NoReturn:
        """Ask for what the streams lack, until cancelled."""

    async def write(self) -> bool:
        """Write what is ready, a batch at most; whether there was something. `_ready` is set when there is more."""
        return False

    @abstractmethod
    def told(self) -> Live:
        """What events say."""

    def close(self) -> None:
        """Release what it holds."""


class _Listener(Generic[P]):
    """Tells the worker also that there is a connection."""

    def __init__(self, worker: LiveWorker[P]) -> None:
        self._worker = worker
        self.hear = worker.hear
        self.newer = worker.newer
        self.overdue = worker.overdue

    def interrupted(self) -> None:
        self._worker._connected.set()
        self._worker.interrupted()
