"""What every sink does: store the records of its input, batch after batch, and commit the offsets of what is stored.

Records are converted outside the event loop: in a thread, and in a helper process while batches queue up.
`worker_input.py` decides which offset a commit names.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any, Protocol, TypeVar

import msgspec

from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.ports.bus import Received
from streamforge_utils.ports.columns import DocumentColumns, columns_of
from streamforge_utils.ports.store import Answer, Outcome, count_outcomes
from streamforge_utils.runtime.life.context import Context
from streamforge_utils.runtime.sink.conversion import ANSWER_LIMIT_S, PASSED_OVER, Converted, HelperProcess, convert
from streamforge_utils.runtime.sink.day_division import DayDivision
from streamforge_utils.runtime.telemetry.logs import Log

IDLE_S = 1.0
"""A helper without work for so long is ended: it takes memory."""


class Converter(Protocol):
    """Converts batches of messages in the order in which they were given, outside the event loop."""

    def convert(self, records: Sequence[Received]) -> Awaitable[Converted]:
        """The documents of `records`."""

    def start_helper(self) -> None:
        """Batches queue up: convert faster, if there is a way."""

    def end_idle_helper(self) -> None:
        """Give back what the faster way needs, if it was not used for a while. Called now and then."""

    def close(self) -> None:
        """Release what it holds."""


class ThreadConverter:
    """Implements `Converter` by a function that takes few microseconds a message: a thread is enough."""

    def __init__(self, convert: Callable[[Sequence[Received]], Converted]) -> None:
        self._function = convert
        # No `Lane`: a helper is started and ended without waiting for it, and the end of a worker waits for no batch.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="convert")

    def convert(self, records: Sequence[Received]) -> asyncio.Future[Converted]:
        return asyncio.get_running_loop().run_in_executor(self._thread, self._function, records)

    def start_helper(self) -> None:
        """There is none: what limits it is the store."""

    def end_idle_helper(self) -> None:
        """There is none."""

    def close(self) -> None:
        """End the thread once it has done its work."""
        self._thread.shutdown(wait=False)


class Offloader(ThreadConverter):
    """Implements `Converter` with a helper process beside the thread.

    Converting and storing take about as long, and share the interpreter's lock: after `start_helper` a helper process
    converts. Where it cannot be started, ends or hangs, the thread goes on alone.
    asked: how many batches the helper has converted.
    """

    def __init__(self, kind: RecordKind, log: Log, *, answer_limit_s: float = ANSWER_LIMIT_S) -> None:
        super().__init__(self._convert)
        self._kind = kind
        self._answer_limit_s = answer_limit_s
        self._log = log
        self._process: HelperProcess | None = None
        self.asked = 0
        self._helper_wanted = False
        self._closed = False
        self._waiting = 0
        self._used_at = 0.0

    @property
    def process(self) -> int | None:
        """The id of the helper process, if there is one."""
        process = self._process
        return None if process is None else process.pid

    def start_helper(self) -> None:
        """Start a helper process, which then converts. Call it once batches queue up, which is worth the start."""
        if not self._helper_wanted:
            self._helper_wanted = True
            self._thread.submit(self._start)  # at once: the next batch may be long in coming

    def convert(self, records: Sequence[Received]) -> asyncio.Future[Converted]:
        self._waiting += 1
        future = super().convert(records)
        future.add_done_callback(self._converted)
        return future

    def end_idle_helper(self) -> None:
        """End a helper that had no work for `IDLE_S`. Call it now and then."""
        if self._process is not None and not self._waiting and time.monotonic() - self._used_at > IDLE_S:
            self._helper_wanted = False
            self._thread.submit(self._end)

    def close(self) -> None:
        """End the helper, and the thread once it has done its work."""
        self._closed = True
        process = self._process
        if process is not None:
            process.kill()
        self._thread.submit(self._end)
        super().close()

    def _converted(self, _: object) -> None:
        self._waiting -= 1
        self._used_at = time.monotonic()

    # What follows runs in the thread.

    def _convert(self, records: Sequence[Received]) -> Converted:
        if self._helper_wanted:
            self._start()  # before the batches that wait, and not only once they are converted
        try:
            if self._process is not None and self._process.ready():
                converted = self._process.convert(records)
                if converted is not None:
                    self.asked += 1
                    return converted
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            self._give_up(error)
        columns = columns_of(records)
        return convert(self._kind, columns.keys, columns.values)

    def _start(self) -> None:
        try:
            if self._process is None and not self._closed:
                self._process = HelperProcess(self._kind, answer_limit_s=self._answer_limit_s)
                self._log.debug("a helper process converts records", pid=self._process.pid)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._helper_wanted = False
        self._end()
        if not self._closed:
            self._log.warning("the helper process failed; going on without", error=repr(error))

    def _end(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None


BACKLOG = 2
"""While so many full batches are converted or stored, another one waits: a helper is worth its start."""
BATCHES_AT_ONCE = 4
"""How many batches are converted, stored or waiting for either; one more may be read, and waits.

One less where the store takes several at a time: those need memory there too.
"""
FULL_BATCH = 1000
"""A smaller batch is stored before another one is read: what comes meanwhile is one batch then, and one transaction."""
COMMIT_EVERY_S = 0.1
"""Each commit costs a disk flush that competes with the store, so several batches share one."""
IDLE_LOOK_S = 1.0
"""While nothing comes: hundreds of sinks on one machine mostly wait."""


class SinkParameters(msgspec.Struct, frozen=True, kw_only=True):
    """What can be chosen for a sink."""

    store_patience_seconds: Annotated[
        float,
        msgspec.Meta(ge=0, description="how long a store that does not answer is asked again before the attempt fails"),
        msgspec.Meta(extra={"unit": "seconds"}),
    ] = 60.0

    @property
    def holds_seconds(self) -> float:
        """How long a record that came may not be where it is proven, where all goes well."""
        return 0.0


SinkP = TypeVar("SinkP", bound=SinkParameters)


async def sink(ctx: Context[SinkParameters]) -> None:
    """Store all of the topic's records, in its order, as the documents that their kind makes of them, and commit them.

    Raises as `store_input`.
    """
    await store_input(ctx, Offloader(ctx.kind, ctx.log))


class Keeper(Protocol):
    """What more is done with batches that are stored, one after the other in their order, before they are committed."""

    async def keep(self, received: Sequence[Received]) -> None:
        """The batch is stored: tell the input so, now or later."""

    async def look(self) -> None:
        """Called now and then."""

    async def finish(self, *, refused: bool = False) -> None:
        """Nothing is left to be done on return, and the input was told. refused: something was; more may follow."""


class _Direct:
    """Implements `Keeper`: there is nothing more."""

    def __init__(self, ctx: Context[Any]) -> None:
        self._ctx = ctx

    async def keep(self, received: Sequence[Received]) -> None:
        self._ctx.input.kept(received)

    async def look(self) -> None:
        pass

    async def finish(self, *, refused: bool = False) -> None:
        pass


async def store_input(ctx: Context[SinkP], offloader: Converter, keeper: Keeper | None = None) -> None:
    """Store all of the input, in its order, as the documents that `offloader` makes of it, and commit it.

    What cannot be stored becomes a dead letter. While a batch is stored, a few later ones are read and converted; the
    next is stored at the same time if the store takes several and they have no key in common.
    Raises RetryableError where the store does not answer for `store_patience_seconds`.
    """
    at_once = ctx.store.upserts_at_once
    keeper = keeper or _Direct(ctx)
    most = BATCHES_AT_ONCE - (at_once > 1)
    room, ended, keeping = asyncio.Semaphore(most), asyncio.Event(), set[asyncio.Task[None]]()
    stirred = asyncio.Event()
    order, days = _StoreOrder(at_once), DayDivision(ctx.placement, lambda: ctx.kind)

    async def keep(received: Sequence[Received], takes: int) -> None:
        wanted = ctx.choice.wanted(received)
        converted = await offloader.convert(wanted) if wanted else Converted([], [], [], [])
        async with order.batch(converted.keys) as first:
            refused = await _store(ctx, wanted, converted, days)
            await first.wait()
            await ctx.dead_letters.send(*refused)
            if settled := ctx.choice.settled(received):
                await keeper.keep(settled)
            if refused:  # at once: if they were read again, each would become a dead letter again
                await keeper.finish(refused=True)
                await ctx.input.commit()
        stirred.set()
        for _ in range(takes):
            room.release()

    async def commit() -> None:
        while not ended.is_set():
            stirred.clear()
            await keeper.look()
            await ctx.input.commit()
            offloader.end_idle_helper()
            for event, most_s in ((ended, COMMIT_EVERY_S), (stirred, IDLE_LOOK_S)):
                with suppress(TimeoutError):
                    async with asyncio.timeout(most_s):
                        await event.wait()

    try:
        async with asyncio.TaskGroup() as always:
            always.create_task(commit(), name="commit")
            async with asyncio.TaskGroup() as tasks:
                async for received in ctx.input:
                    takes = 1 if len(received) >= FULL_BATCH else most
                    if takes == 1 and len(keeping) >= BACKLOG:
                        offloader.start_helper()
                    for _ in range(takes):
                        await room.acquire()
                    keeping.add(task := tasks.create_task(keep(received, takes), name="keep"))
                    task.add_done_callback(keeping.discard)
            ended.set()
            stirred.set()
        await keeper.finish()
    finally:
        offloader.close()
    await ctx.input.commit()


class _StoreOrder:
    """The batches that are being stored, `at_once` at most: the keys of each, and an event that is set at its end."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._free = asyncio.Semaphore(at_once)
        self._batches: list[tuple[frozenset[str], asyncio.Event]] = []

    @asynccontextmanager
    async def batch(self, keys: Sequence[str]) -> AsyncIterator[asyncio.Event]:
        """The block stores a batch; it begins once no earlier batch that is being stored has one of these keys.

        Yields an event, set when all earlier batches are stored: the block must wait for it before it ends.
        """
        async with self._free:
            batch = (frozenset(keys if self._at_once > 1 else ()), asyncio.Event())
            before = [*self._batches]
            self._batches.append(batch)
            for other_keys, other_ended in before:
                if not batch[0].isdisjoint(other_keys):
                    await other_ended.wait()
            first = before[-1][1] if before else asyncio.Event()
            if not before:
                first.set()
            yield first
            # Not in a `finally`: after a batch that failed, no later one may count as stored.
            self._batches.remove(batch)
            batch[1].set()


async def _store(
    ctx: Context[SinkP], received: Sequence[Received], converted: Converted, days: DayDivision
) -> list[tuple[Received, str]]:
    """Store the documents; returns the records that the conversion or the store refused, each with its reason."""
    refused = converted.refused
    documents = DocumentColumns(converted.keys, converted.versions, converted.bodies, encoded=converted.encoded)
    if documents:
        answers = await _upsert(ctx, documents, days)
        if Outcome.REFUSED in count_outcomes(answers):
            refused = refused + [
                (at, answer.reason)
                for at, answer in zip(converted.good(len(received)), answers, strict=True)
                if answer.outcome is Outcome.REFUSED
            ]
    return [(received[at], reason) for at, reason in refused if reason != PASSED_OVER]


async def _upsert(ctx: Context[SinkP], documents: DocumentColumns, days: DayDivision) -> Sequence[Answer]:
    """Store each document in its collection; one answer each, in their order."""
    patience_s, parts = ctx.parameters.store_patience_seconds, days.divide(documents)
    if len(parts) == 1:
        return await ctx.upsert(parts[0][0], documents, patience_s=patience_s)
    answers: dict[int, Answer] = {}
    for collection, places in parts:
        part = DocumentColumns(
            [documents.keys[at] for at in places],
            [documents.versions[at] for at in places],
            [documents.bodies[at] for at in places],
            encoded=documents.encoded,
        )
        answers.update(zip(places, await ctx.upsert(collection, part, patience_s=patience_s), strict=True))
    return [answers[at] for at in range(len(documents))]
