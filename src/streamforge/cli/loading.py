"""`load`, `retry` and `dlq replay`: a workflow to its end, and what became of it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

import msgspec

from streamforge.cli import output, views
from streamforge.cli.arguments import check_words
from streamforge.cli.client import path_part
from streamforge.cli.coverage import EXPLAINED
from streamforge.cli.errors import CliError, Interrupted
from streamforge.cli.following import Begin, Follower, left_out
from streamforge.cli.interrupts import interrupts
from streamforge.cli.progress import display
from streamforge.cli.reasons import short
from streamforge.cli.session import Mode, Session, Where, session
from streamforge_utils.model.series import candles_interval
from streamforge_utils.model.timeranges import format_ms

SEGMENTS_SHOWN = 12
_MOST_RESTS = 3
"""How often what a joined workflow left out may be left to another one that is joined, and leaves out a part again."""


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """What `load --json` ends with. seconds: from the request to the end, as this command saw it.

    time_range: what is loaded and proven, once the workflow was planned; its end may lie before that of the request.
    joined: it was under way already. behind_seconds, asked_range: if it then ends earlier than what was asked for.
    records_expected, records_stored: of the whole range; records_there: those of them that were stored before.
    """

    queue_id: str
    status: str
    time_range: views.Range
    records_expected: int | None
    records_stored: int
    records_there: int
    coverage: list[views.Segment]
    seconds: float
    joined: bool
    behind_seconds: float
    asked_range: str | None

    @classmethod
    def of(cls, workflow: views.Workflow, coverage: views.Coverage | None = None, seconds: float = 0.0) -> Loaded:
        """coverage: of its range; None: it is not asked for."""
        progress, segments = workflow.progress, [] if coverage is None else coverage.segments
        stored, there = progress.records_stored, progress.records_there
        if workflow.ended and progress.records_expected is None:  # it came to no plan: what is stored was stored before
            stored = there = sum(one.records for one in segments if one.verdict == "stored")
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
            behind_seconds=workflow.behind_seconds,
            asked_range=workflow.asked_range,
        )


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be loaded."""

    symbol: str
    type: str
    time_range: str
    again: bool = False

    def check(self) -> None:
        """Raises InvalidInput in the words of the API, before anything is started."""
        check_words((self.symbol, self.type, self.time_range), loading=True)

    async def start(self, found: Session) -> views.Workflow:
        """Send it; sending again after a lost answer gives the same workflow."""
        answer = await found.api.call("POST", "/queues/start", body=self, key=secrets.token_hex(16))
        return found.api.read(answer, views.Workflow)


async def load(
    request: Request, where: Where, *, detach: bool = False, timeout_s: float | None = None, as_json: bool = False
) -> int:
    """Load `request`; returns the exit code."""
    request.check()
    if detach:
        return await _detached(where, request.start, as_json=as_json)
    return await to_the_end(where, request.start, timeout_s=timeout_s, as_json=as_json)


async def again(
    queue_id: str,
    action: str,
    where: Where,
    *,
    detach: bool = False,
    timeout_s: float | None = None,
    as_json: bool = False,
) -> int:
    """`retry` a workflow, or replay its dead letters (`dlq/replay`); returns the exit code."""

    async def begin(found: Session) -> views.Workflow:
        return found.api.read(await found.api.call("POST", f"/queues/{path_part(queue_id)}/{action}"), views.Workflow)

    where = where.as_before()
    if detach:
        return await _detached(where, begin, as_json=as_json)
    return await to_the_end(where, begin, timeout_s=timeout_s, as_json=as_json, mode=Mode.CONTINUE)


async def wait(queue_id: str, where: Where, *, timeout_s: float | None = None, as_json: bool = False) -> int:
    """Follow a workflow that others began to its end; returns the exit code, as `load` would."""

    async def begin(found: Session) -> views.Workflow:
        return await found.api.get(f"/queues/{path_part(queue_id)}", views.Workflow)

    return await to_the_end(
        where.as_before(), begin, timeout_s=timeout_s, as_json=as_json, mode=Mode.CONTINUE, attached=True
    )


async def _detached(where: Where, begin: Begin, *, as_json: bool) -> int:
    async with session(where, Mode.SERVER, loads=True) as found:
        workflow = await begin(found)
    if workflow.left_out is not None:
        output.say(f"{workflow.queue_id} leaves out a part of what was asked for: {_for_the_rest(workflow, where)}")
    if as_json:
        output.write(msgspec.json.encode(Loaded.of(workflow)).decode())
    else:
        output.write(workflow.queue_id)
        output.say(
            f"{workflow.queue_id} is {workflow.status}{' already' if workflow.joined else ''}; follow it with: "
            f"streamforge events {workflow.queue_id} --follow{where.flags()}"
        )
    return 0


async def to_the_end(
    where: Where,
    begin: Begin,
    *,
    timeout_s: float | None,
    as_json: bool,
    mode: Mode = Mode.DRIVE,
    attached: bool = False,
) -> int:
    """Begin a workflow and follow it to its end; says what became of it and returns the exit code.

    What one that was joined leaves out is loaded by another one afterwards, which is then what is told of.
    mode, attached: as `Follower` takes them. Raises CliError (Interrupted after Ctrl-C) if that is not `finished`.
    """
    began = time.monotonic()
    ended = await followed(where, begin, timeout_s=timeout_s, mode=mode, attached=attached)
    for _ in range(_MOST_RESTS):
        left_s = None if timeout_s is None else timeout_s - (time.monotonic() - began)
        rest = ended.rest
        if rest is None or (left_s is not None and left_s <= 0):
            break
        output.say(
            f"{ended.workflow.queue_id} has finished; what it left out, {left_out(ended.workflow)}, is loaded now"
        )
        ended = await followed(where, rest.start, timeout_s=left_s)
        ended = msgspec.structs.replace(
            ended, loaded=msgspec.structs.replace(ended.loaded, seconds=round(time.monotonic() - began, 3))
        )
    if as_json:
        output.write(msgspec.json.encode(ended.loaded).decode())
    else:
        tell(ended)
    workflow = ended.workflow
    if workflow.status != "finished":
        raise _unfinished(ended, where)
    if ended.gone:
        raise CliError(f"{workflow.queue_id}: {no_longer(workflow, where)}")
    if workflow.left_out is not None:
        error = CliError(
            f"{workflow.queue_id} has finished, without {left_out(workflow)}: {_for_the_rest(workflow, where)}"
        )
        error.exit_code = ended.interrupted or error.exit_code
        raise error
    return 0


def _for_the_rest(workflow: views.Workflow, where: Where) -> str:
    """How what a joined workflow leaves out is loaded."""
    load = f"streamforge load {workflow.symbol} {workflow.type} {workflow.asked_range}{where.starting()}"
    return f"{left_out(workflow)} is loaded, once it has ended, by `{load}`"


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow that has ended. interrupted: the exit code after Ctrl-C. timed_out: it was stopped for its time."""

    workflow: views.Workflow
    loaded: Loaded
    interrupted: int | None
    timed_out: bool

    @property
    def gone(self) -> bool:
        """Whether some of what a finished workflow had proven is not there any more."""
        return self.workflow.status == "finished" and any(one.verdict not in EXPLAINED for one in self.loaded.coverage)

    @property
    def rest(self) -> Request | None:
        """The whole range that was asked for, where the workflow was joined, has finished and leaves out a part."""
        one, stopped = self.workflow, self.interrupted is not None or self.timed_out
        if one.status != "finished" or stopped or one.left_out is None or one.asked_range is None:
            return None
        return Request(symbol=one.symbol, type=one.type, time_range=one.asked_range)


async def followed(
    where: Where, begin: Begin, *, timeout_s: float | None = None, mode: Mode = Mode.DRIVE, attached: bool = False
) -> Ended:
    """Begin a workflow and follow it to its end. Raises Interrupted where the user left at once."""
    began = time.monotonic()
    with interrupts() as asked, display() as shown:
        follower = Follower(asked, shown, timeout_s=timeout_s, mode=mode, attached=attached)
        workflow, coverage = await follower.begin(where, begin)
        return Ended(
            workflow=workflow,
            loaded=Loaded.of(workflow, coverage, time.monotonic() - began),
            interrupted=asked.exit_code if asked.count else None,
            timed_out=follower.timed_out,
        )


def tell(ended: Ended) -> None:
    """What became of it, for a person, on stdout."""
    workflow, loaded = ended.workflow, ended.loaded
    progress = workflow.progress
    took = output.duration(loaded.seconds)
    until = _until(workflow)
    if workflow.status == "finished" and workflow.time_range.span is None:
        output.write(f"{workflow.queue_id} finished in {took}: {nothing_over(workflow)}")
    elif workflow.status == "finished" and progress.records_expected == 0:
        output.write(f"{workflow.queue_id} finished in {took}: the exchange has nothing in this range")
    elif ended.gone:
        output.write(f"{workflow.queue_id} had finished, and not all that it had proven is there: {_stored(loaded)}")
    elif workflow.status == "finished":
        proof = (
            "proven complete"
            if progress.records_stored >= (progress.records_expected or 0)
            else "the rest is accounted for below"
        )
        nothing = "nothing was left to load, " if progress.records_there == progress.records_expected else ""
        output.write(f"{workflow.queue_id} finished in {took}: {nothing}{_stored(loaded)}, {proof}{until}")
    else:
        nothing = "nothing was loaded, " if progress.records_expected is None else ""
        output.write(f"{workflow.queue_id} {workflow.status} after {took}: {nothing}{_stored(loaded)}")
    show_segments(loaded.coverage)


def _until(workflow: views.Workflow) -> str:
    """How far the range reaches that was loaded, where that is not its end as it was asked for."""
    found = workflow.time_range
    return f", until {format_ms(found.end_ms)}, the end of the last candle that is over" if found.clipped else ""


def nothing_over(workflow: views.Workflow) -> str:
    """That nothing could be loaded of a range, and from when on something can, where the calendar tells."""
    interval, start_ms = candles_interval(workflow.type), workflow.time_range.start_ms
    if not interval.aligned_by_calendar:
        return "no candle of this range was over yet"
    opens_ms = interval.floor(start_ms)
    opens_ms = opens_ms if opens_ms == start_ms else interval.next(opens_ms)
    return f"no candle of this range was over yet, the first one ends at {format_ms(interval.next(opens_ms))}"


def no_longer(workflow: views.Workflow, where: Where) -> str:
    """What to do where a range that was proven complete is not complete now."""
    return (
        f"it was complete when it was proven, {output.moment(workflow.proven_at)}, and is not now: what is `ours` is "
        "gone, and what is `unknown` was removed; load it with `streamforge load "
        f"{workflow.symbol} {workflow.type} {workflow.time_range.span}{where.starting()}`"
    )


def _stored(loaded: Loaded) -> str:
    """How much of the whole range is stored: what was there before counts, and is told."""
    whole = (
        output.records(loaded.records_stored)
        if loaded.records_expected is None
        else f"{output.number(loaded.records_stored)} of {output.records(loaded.records_expected)}"
    )
    if loaded.records_there and loaded.records_there == loaded.records_stored:
        return f"{whole} stored before"
    before = f" ({output.number(loaded.records_there)} of them before)" if loaded.records_there else ""
    return f"{whole} stored{before}"


def show_segments(segments: Sequence[views.Segment]) -> None:
    """Coverage on stdout, a line per range."""
    for segment in segments[:SEGMENTS_SHOWN]:
        span = output.day_span(segment.start_ms, segment.end_ms)
        what = output.VERDICTS.get(segment.verdict, "")
        if segment.verdict == "stored":
            count = f"{output.records(segment.records)} in " if segment.records else ""
            what = f"{count}{segment.collection}"
        output.write(f"  {segment.verdict:<9} {span}: {what}")
    if len(segments) > SEGMENTS_SHOWN:
        output.write(f"  and {len(segments) - SEGMENTS_SHOWN} more ranges: see `streamforge coverage`")


def _unfinished(ended: Ended, where: Where) -> CliError:
    workflow = ended.workflow
    flags = where.flags()
    command = f"streamforge retry {workflow.queue_id}{where.flags(exchange=True)}"
    retry = f"go on with `{command}`; what is stored is not loaded again"
    if ended.interrupted is not None:
        error = Interrupted(f"{workflow.queue_id} was stopped ({workflow.status}): {retry}")
        error.exit_code = ended.interrupted
        return error
    if ended.timed_out:
        return CliError(f"{workflow.queue_id} was not finished in time and was stopped ({workflow.status}): {retry}")
    if workflow.failure is not None:
        reason, next_step = short(workflow.failure.reason), workflow.failure.next_step
        details = (
            "" if reason == workflow.failure.reason else f" (all of it: `streamforge show {workflow.queue_id}{flags}`)"
        )
        advice = f"; {next_step}" if next_step else ""
        return CliError(f"{workflow.queue_id} failed: {reason.rstrip('.')}{advice}{details}")
    return CliError(f"{workflow.queue_id} ended as {workflow.status}, somebody else stopped it: {retry}")
