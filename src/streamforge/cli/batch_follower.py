"""Waiting for a batch's end: showing it, stopping it on Ctrl-C, going on where its manager went away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from streamforge.cli import terminal
from streamforge.cli.client import path_part
from streamforge.cli.command_errors import ApiProblem, CliError, Interrupted, ServerLost, ServerSilent
from streamforge.cli.follower import GRACE_S, TAKE_OVERS, pause, unless_interrupted
from streamforge.cli.interrupts import Interrupts, interrupts
from streamforge.cli.progress import Display, display
from streamforge.cli.session import Mode, Session, Where, session
from streamforge.manager import batch_answers
from streamforge_utils.model.timeranges import SINCE_LAST

BeginBatch = Callable[[Session], Awaitable[batch_answers.Batch]]
"""Starts a batch, or retries it."""


class EndedBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch that has ended. interrupted: the exit code after Ctrl-C. timed_out: it was stopped for its time."""

    batch: batch_answers.Batch
    seconds: float
    interrupted: int | None
    timed_out: bool


async def followed_batch(where: Where, begin: BeginBatch, **how: Any) -> EndedBatch:
    """Begin a batch and follow it to its end. how: as `BatchFollower` takes it. Raises as `BatchFollower.begin`."""
    with interrupts() as asked, display() as shown:
        return await BatchFollower(asked, shown, **how).begin(where, begin)


class BatchFollower:
    """Follows one batch, as `Follower` follows a workflow.

    timeout_s: after it the batch is stopped in order; None: never. mode: DRIVE or CONTINUE. attached: it belongs to
    others: on Ctrl-C, or when the time is over, it is left to the manager that drives it.
    """

    def __init__(
        self,
        interrupts: Interrupts,
        display: Display,
        *,
        timeout_s: float | None = None,
        mode: Mode = Mode.DRIVE,
        loads: bool = True,
        attached: bool = False,
    ) -> None:
        self._interrupts = interrupts
        self._display = display
        self._loop = asyncio.get_running_loop()
        self._deadline = None if timeout_s is None else self._loop.time() + timeout_s
        self._mode = mode
        self._loads = loads
        self._attached = attached
        self._batch: batch_answers.Batch | None = None
        self._where = Where()
        self._begun = False
        self._started = self._loop.time()
        self._asked = asyncio.Event()
        self._stop_sent = False
        self._timed_out = False

    async def begin(self, where: Where, begin: BeginBatch) -> EndedBatch:
        """Call `begin` once, with a manager that drives workflows, and follow what it gives to its end.

        A manager that served another command and ended with it is replaced, by another one or by our own. Raises
        Interrupted where the user insists, or nothing has begun.
        """
        self._where = where
        batch = await unless_interrupted(
            self._begin(where, begin), self._interrupts, self._asked, lambda: self._begun, self._leaving
        )
        return EndedBatch(
            batch=batch,
            seconds=round(self._loop.time() - self._started, 3),
            interrupted=self._interrupts.exit_code if self._interrupts.count else None,
            timed_out=self._timed_out,
        )

    def _leaving(self) -> Interrupted:
        if self._batch is None:
            return Interrupted("nothing was started", self._interrupts.exit_code)
        left = (
            f"left {self._batch.batch_id} as it is: the next manager on its data continues it "
            f"(`streamforge up{self._where.starting()}`)"
        )
        return Interrupted(left, self._interrupts.exit_code)

    async def _begin(self, where: Where, begin: BeginBatch) -> batch_answers.Batch:
        takeovers = 0
        while True:
            try:
                async with session(where, self._mode, loads=self._loads) as found:
                    if self._batch is None:
                        self._begun = True
                        with terminal.said_late(
                            "waiting for the manager, which asks the exchange for its symbols", self._display.note
                        ):
                            self._batch = await begin(found)
                        self._display.note(description(self._batch))
                    return await self._follow(found, self._batch)
            except ServerLost as error:
                silent = isinstance(error, ServerSilent)  # it holds the folder, so that no other can be there
                if silent or self._batch is None or where.server is not None or takeovers >= TAKE_OVERS:
                    raise
                takeovers += 1
                where = where.as_before()
                self._display.note("the manager that ran on this data has ended; going on with another")

    async def _follow(self, found: Session, batch: batch_answers.Batch) -> batch_answers.Batch:
        path = f"/batches/{path_part(batch.batch_id)}"
        while not batch.ended:
            self._show(batch)
            await pause(found, None if self._stop_sent else self._asked)
            await self._attend(found, path, batch)
            batch = await found.api.get(path, batch_answers.Batch)
        self._show(batch)
        return batch

    def _show(self, batch: batch_answers.Batch) -> None:
        self._display.draw(batch.status, batch.progress.share, numbers(batch), waits_for(batch))

    async def _attend(self, found: Session, path: str, batch: batch_answers.Batch) -> None:
        asked, now = self._interrupts.count, self._loop.time()
        late = self._deadline is not None and now > self._deadline
        if late and self._timed_out and self._deadline is not None and now > self._deadline + GRACE_S:
            raise CliError(
                f"{batch.batch_id} did not stop within {terminal.duration(GRACE_S)} after its time was over: it is "
                "left as it is, and the next manager on its data continues it"
            )
        if (asked or late) and self._attached and not found.own:
            raise self._detached(found, batch)
        if (asked or late) and not self._stop_sent:
            self._stop_sent = True
            self._timed_out = late and not asked
            why = "stopping in order; Ctrl-C again leaves at once" if asked else "its time is over: stopping in order"
            self._display.note(why)
            try:
                await found.api.call("POST", f"{path}/stop")
            except ApiProblem as error:
                if error.kind != "not-now":  # it ended meanwhile
                    raise

    def _detached(self, found: Session, batch: batch_answers.Batch) -> CliError:
        flags = self._where.flags()
        left = (
            f"the manager at {found.api.url} continues {batch.batch_id} ({batch.status}): `streamforge batch wait "
            f"{batch.batch_id}{flags}` waits for it, `streamforge batch stop` stops it"
        )
        if not self._interrupts.count:
            return CliError(f"the time is over; {left}")
        return Interrupted(left, self._interrupts.exit_code)


def description(batch: batch_answers.Batch) -> str:
    """What was begun."""
    found = batch.time_range
    last = found.requested == SINCE_LAST
    span = SINCE_LAST if last else terminal.day_span(found.start_ms, found.end_ms)
    asked = "" if last else terminal.asked_for(found.requested, clipped=found.clipped)
    delisted = f", {terminal.number(batch.delisted)} of them delisted" if batch.delisted else ""
    delisted += f" ({terminal.number(batch.archived)} only in the archive)" if batch.archived else ""
    at = f", those that were listed at {batch.listed_at}" if batch.listed_at else ""
    twice = ""
    if batch.duplicates:
        more = ", …" if len(batch.duplicated) < batch.duplicates else ""
        twice = f"; named again and loaded once: {', '.join(batch.duplicated)}{more}"
    archived = ""
    if batch.left_out:
        more = ", …" if len(batch.left_out_first) < batch.left_out else ""
        archived = (
            f"; not loaded, as only the archive has {'it' if batch.left_out == 1 else 'them'}: "
            f"{', '.join(batch.left_out_first)}{more}"
        )
    archived += f"; {batch.archive_silence}" if batch.archive_silence else ""
    many = terminal.many(batch.size, "symbol")
    return f"{batch.batch_id}: {many}{delisted}{at}, {batch.type} {span}{asked}{twice}{archived}"


def numbers(batch: batch_answers.BatchSummary) -> str:
    """`120 of 500 symbols (24 %), 8 running, 2 failed, 172,800 records, 1,203/s, 2 min left`."""
    counts, progress = batch.counts, batch.progress
    failed = counts.error + counts.interrupted
    live = counts.pending + counts.running + counts.stopping
    done = batch.size - counts.waiting - live
    parts = [f"{terminal.number(done)} of {terminal.many(batch.size, 'symbol')} ({int(progress.share * 100)} %)"]
    parts += [f"{counts.running + counts.stopping} running"] if counts.running + counts.stopping else []
    parts += [f"{terminal.number(failed)} failed"] if failed else []
    parts.append(terminal.records(progress.records_stored))
    if not batch.ended and progress.rate:
        parts.append(f"{terminal.number(round(progress.rate))}/s")
    if not batch.ended and progress.eta_seconds:
        parts.append(f"{terminal.duration(progress.eta_seconds)} left")
    return ", ".join(parts)


def waits_for(batch: batch_answers.BatchSummary) -> str:
    """Why nothing more is made, or nothing."""
    if batch.undriven is not None:
        return f"not driven: {batch.undriven}"
    return f"waits for {terminal.short(batch.waiting_for)}" if batch.waiting_for else ""
