"""The outcome of a batch, as JSON and as one table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from streamforge.cli import terminal
from streamforge.cli.batch_follower import EndedBatch
from streamforge.cli.client import said_here
from streamforge.cli.command_errors import CliError, Interrupted
from streamforge.cli.session import Where
from streamforge.cli.terminal import short
from streamforge.manager.batches import answers as batch_answers
from streamforge_utils.model.timeranges import SINCE_LAST

if TYPE_CHECKING:
    from rich.text import Text

_REASONS = 20


class LoadedBatch(msgspec.Struct, frozen=True, kw_only=True):
    """What `load --json` of many symbols ends with. seconds: from the request to the end, as this command saw it.

    left_out, unknown, archive_silence: as `GET /batches/{batch_id}` has them.
    """

    batch_id: str
    status: str
    size: int
    delisted: int
    counts: batch_answers.BatchCounts
    records_expected: int
    records_stored: int
    records_there: int
    failures: list[batch_answers.BatchMember]
    failures_left_out: int
    left_out: int
    unknown: int
    archive_silence: str | None
    seconds: float

    @classmethod
    def of(cls, batch: batch_answers.Batch, seconds: float = 0.0) -> LoadedBatch:
        progress = batch.progress
        return cls(
            batch_id=batch.batch_id,
            status=batch.status,
            size=batch.size,
            delisted=batch.delisted,
            counts=batch.counts,
            records_expected=progress.records_expected,
            records_stored=progress.records_stored,
            records_there=progress.records_there,
            failures=batch.failures,
            failures_left_out=batch.failures_left_out,
            left_out=batch.left_out,
            unknown=batch.unknown,
            archive_silence=batch.archive_silence,
            seconds=seconds,
        )


def tell_batch(batch: batch_answers.Batch, took: str = "") -> None:
    """Print where a batch stands. took: how long it took, behind its status."""
    counts, progress = batch.counts, batch.progress
    proven = terminal.number(counts.finished + counts.closed)
    before = f" ({terminal.number(progress.records_there)} of them before)" if progress.records_there else ""
    delisted = f", {terminal.number(batch.delisted)} of the symbols delisted" if batch.delisted else ""
    terminal.write(
        f"{batch.batch_id} {batch.status}{took}: {proven} of {terminal.many(batch.size, 'symbol')} proven, "
        f"{terminal.number(progress.records_stored)} of {terminal.records(progress.records_expected)} stored{before}"
        f"{delisted}"
    )
    terminal.table(
        ["outcome", "symbols", "why"], [[terminal.styled(row[0]), *row[1:]] for row in rows(batch)], right=["symbols"]
    )


def rows(batch: batch_answers.Batch) -> list[tuple[str, str, str]]:
    """Outcome, how many symbols have it, and why."""
    counts = batch.counts
    last = batch.time_range.requested == SINCE_LAST
    nothing = "up to date" if last else "the exchange has nothing in the range"
    reasons = {
        "finished": "proven: every hole has a reason that is the exchange's",
        "closed": f"proven: {nothing}{f', or not listed on {batch.listed_at}' if batch.listed_at else ''}",
        "running": "not proven yet",
        "stopping": "not proven yet",
        "pending": "not proven yet: their workflows are made and have not begun",
        "waiting": "not proven yet: their workflows are still to be made or retried",
        "removed": "not proven: their workflows were removed",
    }
    found = [(name, terminal.number(count), why) for name, why in reasons.items() if (count := getattr(counts, name))]
    return found + _failures(batch) + _missed(batch)


def _missed(batch: batch_answers.Batch) -> list[tuple[str, str, str]]:
    """Symbols that were asked for, and are no members."""
    found = []
    if batch.left_out:
        which = terminal.first_of(batch.left_out_first)
        found.append(("left out", terminal.number(batch.left_out), f"not loaded: only the archive has them ({which})"))
    if batch.unknown:
        which = terminal.first_of(batch.unknown_first)
        found.append(("unknown", terminal.number(batch.unknown), f"not loaded: the exchange has no such one ({which})"))
    if batch.archive_silence:
        found.append(("unknown", "?", f"perhaps not loaded: {batch.archive_silence}; load it again"))
    return found


def _failures(batch: batch_answers.Batch) -> list[tuple[str, str, str]]:
    by_reason: dict[tuple[str, str], list[str]] = {}
    for member in batch.failures:
        by_reason.setdefault((member.status, _why(member)), []).append(member.symbol)
    found = []
    for (status, reason), symbols in list(by_reason.items())[:_REASONS]:
        found.append((status, terminal.number(len(symbols)), f"not proven: {reason} ({terminal.first_of(symbols)})"))
    told = sum(len(symbols) for symbols in list(by_reason.values())[:_REASONS])
    if left := len(batch.failures) + batch.failures_left_out - told:
        found.append(
            ("error", terminal.number(left), f"not proven: see `streamforge batch show {batch.batch_id} --members`")
        )
    return found


def _why(member: batch_answers.BatchMember) -> str:
    return short(said_here(member.reason or ""))


def members_table(members: Sequence[batch_answers.BatchMember]) -> None:
    """The members, a line each."""
    lines: list[list[str | Text]] = [
        [
            member.symbol + (" (delisted)" if member.delisted else ""),
            terminal.styled(member.status),
            terminal.number(member.records_stored),
            terminal.number(member.records_expected) or "?",
            member.queue_id or "",
            _why(member),
        ]
        for member in members
    ]
    terminal.table(["symbol", "status", "stored", "of", "queue_id", "why"], lines, right=("stored", "of"))


def unproven(ended: EndedBatch, where: Where) -> CliError:
    """Why not all of a batch is proven, and what to do."""
    batch = ended.batch
    counts = batch.counts
    retry = (
        f"go on with `streamforge batch retry {batch.batch_id}{where.flags(exchange=True)}`; what is stored is not "
        "loaded again"
    )
    if ended.interrupted is not None:
        return Interrupted(f"{batch.batch_id} was stopped ({batch.status}): {retry}", ended.interrupted)
    if ended.timed_out:
        return CliError(f"{batch.batch_id} was not finished in time and was stopped ({batch.status}): {retry}")
    lacking: Any = batch.size - counts.finished - counts.closed
    return CliError(f"{terminal.number(lacking)} of {terminal.many(batch.size, 'symbol')} are not proven: {retry}")
