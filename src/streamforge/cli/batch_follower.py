"""Waiting for a batch's end: showing it, stopping it on Ctrl-C, going on where its manager went away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from streamforge.cli import terminal
from streamforge.cli.client import path_part
from streamforge.cli.command_errors import ServerLost
from streamforge.cli.coverage_text import range_text
from streamforge.cli.interrupts import interrupts
from streamforge.cli.progress import Display, display
from streamforge.cli.session import Session, Where, session
from streamforge.cli.waiting import Waiting
from streamforge.manager.batches import answers as batch_answers

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


class BatchFollower(Waiting[Display]):
    """Follows one batch, as `Follower` follows a workflow."""

    COMMAND, PATH = "batch ", "/batches/"

    async def begin(self, where: Where, begin: BeginBatch) -> EndedBatch:
        """Call `begin` once, with a manager that drives workflows, and follow what it gives to its end.

        A manager that served another command and ended with it is replaced, by another one or by our own. Raises
        Interrupted where the user insists, or nothing has begun.
        """
        self._where = where
        batch = await self.unless_interrupted(self._begin(where, begin))
        return EndedBatch(
            batch=batch,
            seconds=round(self._loop.time() - self._started, 3),
            interrupted=self.interrupted,
            timed_out=self._timed_out,
        )

    async def _begin(self, where: Where, begin: BeginBatch) -> batch_answers.Batch:
        batch: batch_answers.Batch | None = None
        while True:
            try:
                async with session(where, self._mode, loads=self._loads) as found:
                    if batch is None:
                        self._begun = True
                        with terminal.said_late(
                            "waiting for the manager, which asks the exchange for its symbols", self._display.note
                        ):
                            batch = await begin(found)
                        self._name = batch.batch_id
                        self._display.note(description(batch))
                    return await self._follow(found, batch)
            except ServerLost as error:
                where = self.after(error, where)

    async def _follow(self, found: Session, batch: batch_answers.Batch) -> batch_answers.Batch:
        path = f"/batches/{path_part(batch.batch_id)}"
        while not batch.ended:
            self._show(batch)
            await self.pause(found, batch.status)
            batch = await found.api.get(path, batch_answers.Batch)
        self._show(batch)
        return batch

    def _show(self, batch: batch_answers.Batch) -> None:
        self._display.draw(batch.status, batch.progress.share, numbers(batch), waits_for(batch))


def description(batch: batch_answers.Batch) -> str:
    """What was begun."""
    delisted = f", {terminal.number(batch.delisted)} of them delisted" if batch.delisted else ""
    delisted += f" ({terminal.number(batch.archived)} only in the archive)" if batch.archived else ""
    at = f", those that were listed on {batch.listed_at}" if batch.listed_at else ""
    rest = _named("named again and loaded once", batch.duplicated, batch.duplicates)
    them = "it" if batch.left_out == 1 else "them"
    rest += _named(f"not loaded, as only the archive has {them}", batch.left_out_first, batch.left_out)
    rest += _named("not loaded, as the exchange has no such symbol", batch.unknown_first, batch.unknown)
    rest += f"; {batch.archive_silence}" if batch.archive_silence else ""
    many = terminal.many(batch.size, "symbol")
    return f"{batch.batch_id}: {many}{delisted}{at}, {batch.type} {range_text(batch)}{rest}"


def _named(what: str, first: Sequence[str], count: int) -> str:
    """The `first` of `count` symbols and what is said of all of them; nothing where there are none."""
    return f"; {what}: {', '.join(first)}{', …' if len(first) < count else ''}" if count else ""


def numbers(batch: batch_answers.BatchSummary) -> str:
    """`120 of 500 symbols (24 %), 8 running, 2 failed, 172,800 records, 1,203/s, 2 min left`.

    Of one that has ended: `11 of 41 symbols proven, 30 stopped, 172,800 records`.
    """
    counts, progress = batch.counts, batch.progress
    if batch.live and not batch.ended:
        return _live_numbers(batch)
    live = counts.pending + counts.running + counts.stopping
    done = counts.finished + counts.closed if batch.ended else batch.size - counts.waiting - live
    how = "proven" if batch.ended else f"({int(progress.share * 100)} %)"
    parts = [f"{terminal.number(done)} of {terminal.many(batch.size, 'symbol')} {how}"]
    parts += [f"{counts.running + counts.stopping} running"] if counts.running + counts.stopping else []
    parts += [f"{terminal.number(counts.error)} failed"] if counts.error else []
    parts += [f"{terminal.number(counts.interrupted)} stopped"] if counts.interrupted else []
    parts.append(terminal.records(progress.records_stored))
    if not batch.ended and progress.rate:
        parts.append(f"{terminal.number(round(progress.rate))}/s")
    if not batch.ended and progress.eta_seconds:
        parts.append(f"{terminal.duration(progress.eta_seconds)} left")
    return ", ".join(parts)


def _live_numbers(batch: batch_answers.BatchSummary) -> str:
    """`500 symbols: 498 live, 2 behind, 172,800 records, 1,203/s`."""
    counts, progress = batch.counts, batch.progress
    begin = counts.waiting + counts.pending
    parts = [f"{count} {state}" for state, count in sorted(batch.live.items())]
    parts += [f"{terminal.number(begin)} to begin"] if begin else []
    parts += [f"{terminal.number(counts.error)} failed"] if counts.error else []
    parts += [f"{terminal.number(counts.interrupted)} stopped"] if counts.interrupted else []
    parts.append(terminal.records(progress.records_stored))
    parts += [terminal.per_second(progress.rate)] if progress.rate else []
    return f"{terminal.many(batch.size, 'symbol')}: {', '.join(parts)}"


def waits_for(batch: batch_answers.BatchSummary) -> str:
    """Why nothing more is made, or nothing."""
    if batch.undriven is not None:
        return f"not driven: {batch.undriven}"
    return f"waits for {terminal.short(batch.waiting_for)}" if batch.waiting_for else ""
