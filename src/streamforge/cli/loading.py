"""`load`, `retry` and `dlq replay`: a workflow to its end, and what became of it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from datetime import datetime

import msgspec

from streamforge.cli import output
from streamforge.cli.arguments import check_words
from streamforge.cli.client import path_part
from streamforge.cli.coverage import EXPLAINED, NONE_OPENS, NOTHING_OVER
from streamforge.cli.errors import CliError, Interrupted
from streamforge.cli.following import Begin, Follower
from streamforge.cli.interrupts import interrupts
from streamforge.cli.joining import advice, is_open, left_out, left_out_span, load_of_the_rest, rest_of
from streamforge.cli.progress import display
from streamforge.cli.reasons import short
from streamforge.cli.session import Mode, Session, Where, session
from streamforge.manager import answers, data_answers
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.kinds.registry import rule_of, series_of
from streamforge_utils.model.timeranges import format_ms, is_relative, resolve_time_range

SEGMENTS_SHOWN = 12
_MOST_RESTS = 3
"""How often what a joined workflow left out may be left to another one that is joined, and leaves out a part again."""


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
        behind = (
            workflow.behind_seconds if asked is None else 0.0 if left is None else (left.end_ms - left.start_ms) / 1000
        )
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
            behind_seconds=behind,
            asked_range=None if left is None and not is_open(workflow) else asked,
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

    async def start(self, found: Session) -> answers.Started:
        """Send it; sending again after a lost answer gives the same workflow."""
        answer = await found.api.call("POST", "/queues/start", body=self, key=secrets.token_hex(16))
        return found.api.read(answer, answers.Started)


async def load(
    request: Request, where: Where, *, detach: bool = False, timeout_s: float | None = None, as_json: bool = False
) -> int:
    """Load `request`; returns the exit code."""
    request.check()
    if detach:
        return await _detached(where, request.start, again=request.again, as_json=as_json)
    return await to_the_end(where, request.start, again=request.again, timeout_s=timeout_s, as_json=as_json)


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

    async def begin(found: Session) -> answers.Started:
        return found.api.read(await found.api.call("POST", f"/queues/{path_part(queue_id)}/{action}"), answers.Started)

    where = where.as_before()
    if detach:
        return await _detached(where, begin, as_json=as_json)
    return await to_the_end(where, begin, timeout_s=timeout_s, as_json=as_json, mode=Mode.CONTINUE)


async def wait(queue_id: str, where: Where, *, timeout_s: float | None = None, as_json: bool = False) -> int:
    """Follow a workflow that others began to its end; returns the exit code, as `load` would."""

    async def begin(found: Session) -> answers.Started:
        return await found.api.get(f"/queues/{path_part(queue_id)}", answers.Started)

    return await to_the_end(
        where.as_before(), begin, timeout_s=timeout_s, as_json=as_json, mode=Mode.CONTINUE, attached=True
    )


async def _detached(where: Where, begin: Begin, *, again: bool = False, as_json: bool) -> int:
    async with session(where, Mode.SERVER, loads=True) as found:
        workflow = await begin(found)
    if (rest := advice(workflow, where, again=again)) is not None:
        output.say(rest)
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
    again: bool = False,
) -> int:
    """Begin a workflow and follow it to its end; says what became of it and returns the exit code.

    What one that was joined leaves out is loaded by another one afterwards, which is then what is told of.
    mode, attached, again: as `Follower` takes them. Raises CliError (Interrupted after Ctrl-C) if that is not
    `finished`.
    """
    began = time.monotonic()
    ended = await followed(where, begin, timeout_s=timeout_s, mode=mode, attached=attached, again=again)
    for _ in range(_MOST_RESTS):
        left_s = None if timeout_s is None else timeout_s - (time.monotonic() - began)
        rest = ended.rest
        if rest is None or (left_s is not None and left_s <= 0):
            break
        output.say(
            f"{ended.workflow.queue_id} has finished; what it left out, {left_out_span(ended.workflow)}, is loaded now"
        )
        ended = await followed(where, rest.start, timeout_s=left_s, again=rest.again)
        ended = msgspec.structs.replace(
            ended, loaded=msgspec.structs.replace(ended.loaded, seconds=round(time.monotonic() - began, 3))
        )
    if as_json:
        output.write(msgspec.json.encode(ended.loaded).decode())
    else:
        tell(ended, where)
    workflow = ended.workflow
    if workflow.status != "finished":
        raise _unfinished(ended, where)
    if ended.gone:
        raise CliError(f"{workflow.queue_id}: {no_longer(workflow, where)}")
    if (load := load_of_the_rest(workflow, where, again=again)) is not None:
        error = CliError(f"{workflow.queue_id} has finished, without {left_out_span(workflow)}: {load} loads that")
        error.exit_code = ended.interrupted or error.exit_code
        raise error
    return 0


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
        """Whether some of what a finished workflow had proven is not there any more."""
        return self.workflow.status == "finished" and any(one.verdict not in EXPLAINED for one in self.loaded.coverage)

    @property
    def rest(self) -> Request | None:
        """What is to be loaded now, where the workflow was joined, has finished and leaves out a part."""
        one, stopped = self.workflow, self.interrupted is not None or self.timed_out
        rest = rest_of(one, again=self.again)
        if one.status != "finished" or stopped or rest is None:
            return None
        return Request(symbol=one.symbol, type=one.type, time_range=rest, again=self.again)


async def followed(
    where: Where,
    begin: Begin,
    *,
    timeout_s: float | None = None,
    mode: Mode = Mode.DRIVE,
    attached: bool = False,
    again: bool = False,
) -> Ended:
    """Begin a workflow and follow it to its end. Raises Interrupted where the user left at once."""
    began = time.monotonic()
    with interrupts() as asked, display() as shown:
        follower = Follower(asked, shown, timeout_s=timeout_s, mode=mode, attached=attached, again=again)
        workflow, coverage = await follower.begin(where, begin)
        return Ended(
            workflow=workflow,
            loaded=Loaded.of(workflow, coverage, time.monotonic() - began),
            interrupted=asked.exit_code if asked.count else None,
            timed_out=follower.timed_out,
            again=again,
            earlier=follower.had_ended,
        )


def tell(ended: Ended, where: Where) -> None:
    """What became of it, for a person, on stdout."""
    workflow, loaded = ended.workflow, ended.loaded
    progress = workflow.progress
    finished = f"{workflow.queue_id} finished {_when(ended, 'in')}"
    # Only how far: a series that was delisted, and a range that ends inside a candle, end in no candle that is over.
    until = f", until {format_ms(workflow.time_range.end_ms)}" if workflow.time_range.clipped else ""
    if workflow.status == "finished" and workflow.time_range.span is None:
        output.write(f"{finished}: {nothing_over(workflow, where)}")
    elif workflow.status == "finished" and progress.records_expected == 0:
        output.write(f"{finished}: the exchange has nothing in this range")
    elif ended.gone:
        output.write(f"{workflow.queue_id} had finished, and not all that it had proven is there: {_stored(loaded)}")
    elif workflow.status == "finished":
        proof = (
            "proven complete"
            if progress.records_stored >= (progress.records_expected or 0)
            else "the rest is accounted for below"
        )
        nothing = "nothing was left to load, " if progress.records_there == progress.records_expected else ""
        output.write(f"{finished}: {nothing}{_stored(loaded)}, {proof}{until}")
    else:
        nothing = "nothing was loaded, " if progress.records_expected is None else ""
        output.write(f"{workflow.queue_id} {workflow.status} {_when(ended, 'after')}: {nothing}{_stored(loaded)}")
    show_segments(loaded.coverage)


def _when(ended: Ended, took: str) -> str:
    """When it ended, where that was before the command; else how long that took, behind the word `took`."""
    workflow = ended.workflow
    if not ended.earlier or workflow.ended_at is None:
        return f"{took} {output.duration(ended.loaded.seconds)}"
    begun, end = (datetime.fromisoformat(one) for one in (workflow.created_at, workflow.ended_at))
    # From its request on: of one that was retried that would hold the time between.
    retried = any(len(step.attempts) > 1 for step in workflow.steps)
    told = "" if retried else f" (took {output.duration((end - begun).total_seconds())})"
    return f"at {output.moment(workflow.ended_at)}{told}"


def nothing_over(workflow: answers.Started, where: Where) -> str:
    """That nothing could be loaded of a range, and from when on something can, where that is sure. It stays true."""
    found, rule = workflow.time_range, rule_of(series_of(workflow.symbol, workflow.type))
    if not rule.is_fixed(None):
        return NOTHING_OVER
    opens_ms = rule.ceil(found.start_ms)
    created_ms = int(datetime.fromisoformat(workflow.created_at).timestamp() * 1000)
    try:  # of words such as `-5min` the latest end that they can have meant, as they were read before
        asked_end_ms = resolve_time_range(found.requested, created_ms).end_ms
    except InvalidInput:  # words of a newer manager
        return NOTHING_OVER
    if opens_ms >= asked_end_ms:
        return NONE_OPENS
    relative = is_relative(found.requested)
    if relative and opens_ms > found.start_ms:
        return NOTHING_OVER
    ends_ms = rule.next(opens_ms)
    words = f"{format_ms(opens_ms)}:{format_ms(ends_ms)}" if relative else found.requested
    load = f"streamforge load {workflow.symbol} {workflow.type} {words}{where.starting()}"
    return f"{NOTHING_OVER}, the first one ends at {format_ms(ends_ms)}: load it then with `{load}`"


def no_longer(workflow: answers.Started, where: Where) -> str:
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


def show_segments(segments: Sequence[data_answers.Segment]) -> None:
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
    rest = advice(workflow, where, again=ended.again)
    also = "" if rest is None else f"; {rest}"
    flags = where.flags()
    command = f"streamforge retry {workflow.queue_id}{where.flags(exchange=True)}"
    retry = f"go on with `{command}`; what is stored is not loaded again{also}"
    if ended.interrupted is not None:
        error = Interrupted(f"{workflow.queue_id} was stopped ({workflow.status}): {retry}")
        error.exit_code = ended.interrupted
        return error
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
