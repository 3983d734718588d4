"""The outcome of a load, as JSON and as text."""

from __future__ import annotations

from datetime import datetime

import msgspec

from streamforge.cli import terminal
from streamforge.cli.command_errors import CliError, Interrupted
from streamforge.cli.coverage_text import (
    advice,
    analysis_of,
    is_kept,
    is_open,
    left_out,
    nothing_over,
    rest_of,
    show_segments,
)
from streamforge.cli.session import Where
from streamforge.cli.terminal import short
from streamforge.cli.topic_text import tell_topic
from streamforge.manager import answers
from streamforge.manager.coverage import answers as data_answers
from streamforge_utils.model.coverage import Verdict
from streamforge_utils.model.timeranges import format_ms


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """What `load --json` ends with. seconds: from the request to the end, as this command saw it.

    time_range: what is loaded and proven, once the workflow was planned; its end may lie before that of the request.
    joined: it was under way already. behind_seconds, asked_range: if it then ends earlier than what was asked for;
    asked_range also where it may do so, as it has no plan yet.
    records_expected, records_stored: of the whole range; records_there: those of them that were stored before.
    """

    queue_id: str
    status: str
    time_range: answers.TimeRange
    records_expected: int | None
    records_stored: int
    records_there: int
    coverage: list[data_answers.Segment]
    seconds: float
    joined: bool
    behind_seconds: float
    asked_range: str | None

    @classmethod
    def of(
        cls, workflow: answers.Started, coverage: data_answers.Coverage | None = None, seconds: float = 0.0
    ) -> Loaded:
        """coverage: of its range; None: it is not asked for."""
        progress, segments = workflow.progress, [] if coverage is None else coverage.segments
        stored, there = progress.records_stored, progress.records_there
        if workflow.ended and progress.records_expected is None:  # it came to no plan: what is stored was stored before
            stored = there = sum(one.records for one in segments if one.verdict == "stored")
        left, asked = left_out(workflow), workflow.asked_range
        return cls(
            queue_id=workflow.queue_id,
            status=workflow.status,
            time_range=workflow.time_range,
            records_expected=progress.records_expected,
            records_stored=stored,
            records_there=there,
            coverage=segments,
            seconds=round(seconds, 3),
            joined=workflow.joined,
            behind_seconds=0.0 if left is None else (left.end_ms - left.start_ms) / 1000,
            asked_range=None if left is None and not is_open(workflow) else asked,
        )


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow that has ended.

    interrupted: the exit code after Ctrl-C. timed_out: it was stopped for its time. again: as it was asked for.
    earlier: it had ended before the command began.
    """

    workflow: answers.Started
    loaded: Loaded
    interrupted: int | None
    timed_out: bool
    again: bool = False
    earlier: bool = False

    @property
    def gone(self) -> bool:
        """Whether records that a finished workflow had proven are gone."""
        return self.workflow.status == "finished" and not is_kept(self.loaded.coverage)

    @property
    def rest(self) -> str | None:
        """The range that is to be loaded now, where the workflow was joined, has finished and leaves out a part."""
        stopped = self.interrupted is not None or self.timed_out
        return None if self.workflow.status != "finished" or stopped else rest_of(self.workflow, again=self.again)


def tell(ended: Ended, where: Where) -> None:
    """Print the outcome of a load."""
    workflow, loaded = ended.workflow, ended.loaded
    if workflow.topic_input is not None:
        tell_topic(workflow, loaded.seconds, where)
        return
    if (analysis := analysis_of(workflow)) is not None:
        name, unit = analysis
        made = f"{terminal.number(loaded.records_stored)} of {terminal.many(loaded.records_expected or 0, unit)}"
        made = "nothing" if loaded.records_expected is None else made
        terminal.write(f"{workflow.queue_id} {workflow.status} {_when(ended, 'in')}: {made} of {name}")
        return
    progress = workflow.progress
    finished = f"{workflow.queue_id} finished {_when(ended, 'in')}"
    # Only how far: a series that was delisted, and a range that ends inside a candle, end in no candle that is over.
    until = f", until {format_ms(workflow.time_range.end_ms)}" if workflow.time_range.clipped else ""
    if workflow.status == "finished" and workflow.time_range.span is None:
        terminal.write(f"{finished}: {nothing_over(workflow, where)}")
    elif workflow.status == "finished" and progress.records_expected == 0:
        terminal.write(f"{finished}: the exchange has nothing in this range")
    elif ended.gone:
        terminal.write(f"{workflow.queue_id} had finished, and not all that it had proven is there: {_stored(loaded)}")
    elif workflow.status == "finished":
        whole = progress.records_stored >= (progress.records_expected or 0) and not _lost(loaded)
        proof = "proven complete" if whole else "the rest is accounted for below"
        nothing = "nothing was left to load, " if progress.records_there == progress.records_expected else ""
        terminal.write(f"{finished}: {nothing}{_stored(loaded)}, {proof}{until}")
    else:
        nothing = "nothing was loaded, " if progress.records_expected is None else ""
        terminal.write(f"{workflow.queue_id} {workflow.status} {_when(ended, 'after')}: {nothing}{_stored(loaded)}")
    show_segments(loaded.coverage)


def _lost(loaded: Loaded) -> bool:
    return any(one.verdict == Verdict.LOST for one in loaded.coverage)


def _when(ended: Ended, took: str) -> str:
    """When it ended, where that was before the command; else how long that took, behind the word `took`."""
    workflow = ended.workflow
    if not ended.earlier or workflow.ended_at is None:
        return f"{took} {terminal.duration(ended.loaded.seconds)}"
    begun, end = (datetime.fromisoformat(one) for one in (workflow.created_at, workflow.ended_at))
    # From its request on: of one that was retried that would hold the time between.
    retried = any(len(step.attempts) > 1 for step in workflow.steps)
    told = "" if retried else f" (took {terminal.duration((end - begun).total_seconds())})"
    return f"at {terminal.moment(workflow.ended_at)}{told}"


def _stored(loaded: Loaded) -> str:
    """How much of the whole range is stored: what was there before counts and is shown."""
    whole = (
        terminal.records(loaded.records_stored)
        if loaded.records_expected is None
        else f"{terminal.number(loaded.records_stored)} of {terminal.records(loaded.records_expected)}"
    )
    if loaded.records_there and loaded.records_there == loaded.records_stored:
        return f"{whole} stored before"
    before = f" ({terminal.number(loaded.records_there)} of them before)" if loaded.records_there else ""
    return f"{whole} stored{before}"


def unfinished(ended: Ended, where: Where) -> CliError:
    """Why a workflow has not finished, and what to do."""
    workflow = ended.workflow
    rest = advice(workflow, where, again=ended.again)
    also = "" if rest is None else f"; {rest}"
    flags = where.flags()
    command = f"streamforge retry {workflow.queue_id}{where.flags(exchange=True)}"
    retry = f"go on with `{command}`; what is stored is not loaded again{also}"
    if ended.interrupted is not None:
        return Interrupted(f"{workflow.queue_id} was stopped ({workflow.status}): {retry}", ended.interrupted)
    if ended.timed_out:
        return CliError(f"{workflow.queue_id} was not finished in time and was stopped ({workflow.status}): {retry}")
    if workflow.failure is not None:
        reason = short(workflow.failure.reason)
        details = (
            "" if reason == workflow.failure.reason else f" (all of it: `streamforge show {workflow.queue_id}{flags}`)"
        )
        next_step = f"; {workflow.failure.next_step}" if workflow.failure.next_step else ""
        return CliError(f"{workflow.queue_id} failed: {reason.rstrip('.')}{next_step}{details}{also}")
    return CliError(f"{workflow.queue_id} ended as {workflow.status}, somebody else stopped it: {retry}")
