"""What commands say of coverage: ranges with their verdicts, and how a range that is not stored is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from msgspec.structs import replace

from streamforge.cli import terminal
from streamforge.cli.session import Where
from streamforge.cli.topic_text import topic_description
from streamforge.manager import answers, start_answers
from streamforge.manager.batches import answers as batch_answers
from streamforge.manager.coverage import answers as data_answers
from streamforge_utils.model.coverage import COMPLETE, KEPT, Verdict
from streamforge_utils.model.daily_collections import base_and_day, by_base
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.kinds.registry import (
    has_history,
    is_live_type,
    is_type,
    kind_of_type,
    rule_of,
    series_of,
)
from streamforge_utils.model.timeranges import (
    SINCE_LAST,
    TimeRange,
    format_ms,
    is_relative,
    parse_time_range,
    resolve_time_range,
)

NOTHING_RECORDED = "nothing was recorded before it was stopped"
_SHOWN = 12
_FROM_NOW = "now:"
"""What is asked for of a live type where no range is given."""
_PROVEN = KEPT | {Verdict.LOST}


def none_within(type_name: str) -> str:
    """That nothing of the type is in a range."""
    noun, on_grid = _records(type_name)
    return f"no {noun} {'opens' if on_grid else 'happened'} in this range"


def none_over(type_name: str) -> str:
    """That nothing of the type could be loaded of a range."""
    noun, on_grid = _records(type_name)
    return f"{f'no {noun}' if on_grid else 'nothing'} of this range was over when the workflow was planned"


def _records(type_name: str) -> tuple[str, bool]:
    """What a record of the type is called, and whether it opens at a time of a grid."""
    if not is_type(type_name):  # of a plugin of the manager
        return "record", False
    kind = kind_of_type(type_name)
    return kind.noun, kind.rule(series_of("ANY", type_name)).position_at(0) is not None


def by_day(segments: Iterable[data_answers.Segment]) -> list[data_answers.Segment]:
    """Segments for a person: stored days of one base that follow each other are one, told by their base."""
    groups: list[list[data_answers.Segment]] = []
    for one in segments:
        if groups and _goes_on(groups[-1][-1], one):
            groups[-1].append(one)
        else:
            groups.append([one])
    return [_joined(group) for group in groups]


def _goes_on(before: data_answers.Segment, after: data_answers.Segment) -> bool:
    days = [base_and_day(one.collection) for one in (before, after) if one.collection is not None]
    bases = {None if day is None else day[0] for day in days}
    follows = before.end_ms == after.start_ms and before.cause == after.cause
    return follows and len(days) == 2 and len(bases) == 1 and None not in bases


def _joined(group: Sequence[data_answers.Segment]) -> data_answers.Segment:
    if len(group) == 1:
        return group[0]
    last, records = group[-1], [one.records for one in group]
    (name,) = by_base(one.collection or "" for one in group)
    return replace(
        group[0], end=last.end, end_ms=last.end_ms, collection=name, records=sum(records) if all(records) else 0
    )


def show_segments(segments: Sequence[data_answers.Segment]) -> None:
    """Coverage on stdout, a line per range."""
    segments = by_day(segments)
    for segment in segments[:_SHOWN]:
        what = terminal.VERDICTS.get(segment.verdict, "")
        if segment.verdict == "stored":
            count = f"{terminal.records(segment.records)} in " if segment.records else ""
            what = f"{count}{segment.collection}"
        why = f" ({segment.cause})" if segment.cause else ""
        terminal.write(f"  {segment.verdict:<9} {terminal.day_span(segment.start_ms, segment.end_ms)}: {what}{why}")
    if len(segments) > _SHOWN:
        terminal.write(f"  and {len(segments) - _SHOWN} more ranges: see `streamforge coverage`")


def is_kept(segments: Sequence[data_answers.Segment]) -> bool:
    """Whether all is there still that a finished workflow had proven, but for what retention has removed; what was lost
    it has said so."""
    return {one.verdict for one in segments} <= _PROVEN


def request_of(span: TimeRange) -> str:
    """A span in the form of a request, which knows whole seconds: wider where it must be."""
    end_ms = -(-span.end_ms // 1000) * 1000
    return f"{format_ms(span.start_ms // 1000 * 1000)}:{format_ms(end_ms)}"


def holes(found: Sequence[start_answers.Missing]) -> str:
    """Ranges that are missing, as one reads them: the first few, and why."""
    told = [
        f"{terminal.day_span(one.start_ms, one.end_ms)} ({one.cause or one.verdict})"
        for one in found[: terminal.NAMES_SHOWN]
    ]
    return ", ".join([*told, *([f"{len(found) - len(told)} more"] if len(found) > len(told) else [])])


def since_lines(found: start_answers.Accepted, where: Where) -> list[str]:
    """What `--since last` loads beside what is new, and what it leaves out."""
    if found.since is None:
        return []
    lines = []
    if found.since.repaired:
        lines.append(f"loaded again, as it is missing before what is new: {holes(found.since.repaired)}")
    return [*lines, *left_lines(found.symbol, found.type, found.since.left, where)]


def left_lines(symbol: str, type_name: str, left: Sequence[start_answers.Missing], where: Where) -> list[str]:
    """That ranges are missing which `--since last` does not load."""
    if not left:
        return []
    again = [one for one in left if not one.cause]
    how = ""
    if again:
        span = request_of(TimeRange(again[0].start_ms, again[0].end_ms))
        how = f"; load it with {load_command((symbol, type_name, span), where)}"
    return [f"missing too, and not loaded by this: {holes(left)}{how}"]


def load_command(what: Sequence[str], where: Where) -> str:
    """The command that loads a series, in backquotes. what: SYMBOL TYPE [TIME_RANGE]."""
    span = what[2] if len(what) == 3 else "TIME_RANGE"
    if span == _FROM_NOW or (is_live_type(what[1]) and not has_history(series_of(what[0], what[1]))):
        return f"`streamforge load {what[0]} {what[1]}{where.starting()}`"
    if span.startswith(SINCE_LAST):
        span = f"--since last{span.removeprefix(SINCE_LAST)}"
    return f"`streamforge load {what[0]} {what[1]} {span}{where.starting()}`"


def wait_command(queue_id: str, where: Where) -> str:
    """The command that waits for a workflow, in backquotes."""
    return f"`streamforge wait {queue_id}{where.flags()}`"


def rest(known: data_answers.Coverage, where: Where) -> str:
    """How the ranges without a reason are loaded: by the workflow that is to load them, or by another one."""
    if known.loading:
        return f"wait for what is to be loaded with {wait_command(known.loading[0].queue_id, where)}"
    holes = [segment for segment in known.segments if segment.verdict not in COMPLETE]
    lacking = [segment for segment in holes if segment.verdict not in KEPT] or holes
    if not lacking:
        return "nothing was asked for yet"
    if all(segment.verdict == Verdict.LOST for segment in lacking):
        return "what is lost cannot be had again"
    span = request_of(TimeRange(lacking[0].start_ms, lacking[-1].end_ms))
    load = load_command((known.symbol, known.type, span), where)
    if is_live_type(known.type):
        return f"what is past of it cannot be had; record it from now on with {load}"
    return f"load the rest with {load}"


def nothing_over(workflow: answers.Started, where: Where) -> str:
    """That nothing could be loaded of a range, and from when on something can, where that is sure. It stays true."""
    if is_live_type(workflow.type):
        return NOTHING_RECORDED
    found, rule = workflow.time_range, rule_of(series_of(workflow.symbol, workflow.type))
    none = none_over(workflow.type)
    if not rule.is_fixed(None) or rule.position_at(0) is None:
        return none
    opens_ms = rule.ceil(found.start_ms)
    created_ms = int(datetime.fromisoformat(workflow.created_at).timestamp() * 1000)
    try:  # of words such as `-5min` the latest end that they can have meant, as they were read before
        asked_end_ms = resolve_time_range(found.requested, created_ms).end_ms
    except InvalidInput:  # words of a newer manager
        return none
    if opens_ms >= asked_end_ms:
        return none_within(workflow.type)
    relative = is_relative(found.requested)
    if relative and opens_ms > found.start_ms:
        return none
    ends_ms = rule.next(opens_ms)
    words = f"{format_ms(opens_ms)}:{format_ms(ends_ms)}" if relative else found.requested
    load = load_command((workflow.symbol, workflow.type, words), where)
    return f"{none}, the first one ends at {format_ms(ends_ms)}: load it then with {load}"


def no_longer(workflow: answers.Started, where: Where) -> str:
    """What to do where a range that was proven complete is not complete now."""
    load = load_command((workflow.symbol, workflow.type, str(workflow.time_range.span)), where)
    return (
        f"it was complete when it was proven, {terminal.moment(workflow.proven_at)}, and is not now: what is `ours` is "
        f"gone, and what is `unknown` was removed; load it with {load}"
    )


def left_out(workflow: answers.Started) -> TimeRange | None:
    """From the first candle of the range asked for that the workflow does not load, to the end of that range.

    None: it loads all of it, or was not joined. While it has no plan this is the least that it leaves out.
    """
    if workflow.asked_range is None:
        return None
    asked = parse_time_range(workflow.asked_range)
    rule = rule_of(series_of(workflow.symbol, workflow.type))
    start_ms = max(asked.start_ms, workflow.time_range.end_ms)
    if rule.is_fixed(None):
        start_ms = rule.ceil(start_ms)
    return None if start_ms >= asked.end_ms else TimeRange(start_ms, asked.end_ms)


def left_out_span(workflow: answers.Started) -> str:
    """`left_out` as one reads it; empty where that is nothing."""
    span = left_out(workflow)
    return "" if span is None else terminal.day_span(span.start_ms, span.end_ms)


def is_open(workflow: answers.Started) -> bool:
    """Whether only its plan will tell how much of the range asked for the workflow leaves out."""
    return workflow.asked_range is not None and not workflow.ended and workflow.progress.records_expected is None


def rest_of(workflow: answers.Started, *, again: bool) -> str | None:
    """The range to ask for once the workflow has ended; None: it leaves out nothing.

    The whole range asked for, as then all of it is proven. again: it is loaded even if it is stored, so it is what was
    left out alone, as soon as that is known.
    """
    left = left_out(workflow)
    if is_open(workflow) or (left is not None and not again):
        return workflow.asked_range
    return None if left is None else str(left)


def load_of_the_rest(workflow: answers.Started, where: Where, *, again: bool) -> str | None:
    """The command that loads what the workflow leaves out; None: it leaves out nothing."""
    rest = rest_of(workflow, again=again)
    if rest is None:
        return None
    again_too = " --again" if again else ""
    return load_command((workflow.symbol, workflow.type, f"{rest}{again_too}"), where)


def advice(workflow: answers.Started, where: Where, *, again: bool) -> str | None:
    """That the workflow leaves out a part of what was asked for, and how that is loaded; None: it does not."""
    load = load_of_the_rest(workflow, where, again=again)
    once = "" if workflow.ended else ", once it has ended,"
    if is_open(workflow):
        return (
            f"{workflow.queue_id} has no plan yet and may leave out a part of what was asked for: that is loaded{once} "
            f"by {load}"
        )
    if load is not None:
        part = left_out_span(workflow)
        return f"{workflow.queue_id} leaves out a part of what was asked for: {part} is loaded{once} by {load}"
    return None


def range_text(found: answers.WorkflowSummary | batch_answers.BatchSummary) -> str:
    """Which range is loaded, and what was asked for where that was said otherwise; of what is live, since when."""
    span, of_many = found.time_range, isinstance(found, batch_answers.BatchSummary)
    each = of_many and span.requested == SINCE_LAST
    if is_live_type(found.type):
        begin = SINCE_LAST if each else f"since {_second(span.start_ms)}"
        end = f"{found.ended_at[:19]}Z" if of_many and found.ended_at else format_ms(span.end_ms)
        return f"live {begin}" + (f" until {end}" if found.ended_at else "")
    asked = terminal.asked_for(span.requested, clipped=span.clipped)
    return SINCE_LAST if each else terminal.day_span(span.start_ms, span.end_ms) + asked


def range_cell(found: answers.WorkflowSummary | batch_answers.BatchSummary) -> str:
    """As `range_text`, for a table, as one would ask for it."""
    span = found.time_range
    if is_live_type(found.type) and (isinstance(found, batch_answers.BatchSummary) or not found.ended_at):
        return f"{_second(span.start_ms)}:"
    return terminal.span(span.start_ms, span.end_ms)


def _second(time_ms: int) -> str:
    return format_ms(time_ms // 1000 * 1000)


def analysis_of(workflow: answers.Started) -> tuple[str, str] | None:
    """What its analyst makes, and what its progress counts; None: it has none."""
    if workflow.graph is not None:
        return f"graph {workflow.graph}", "snapshot"
    return None if workflow.model is None else (f"model {workflow.model}", "moment")


def description(workflow: answers.Started) -> str:
    """What was begun or joined, and which range it loads."""
    if workflow.topic_input is not None:
        return topic_description(workflow, workflow.topic_input)
    if (analysis := analysis_of(workflow)) is not None:
        return f"{workflow.queue_id}: {analysis[0]}, {range_text(workflow)}"
    joined = rest = ""
    if workflow.joined:
        joined = " is under way already; waiting for it"
    if is_open(workflow) and workflow.asked_range is not None:
        until = format_ms(parse_time_range(workflow.asked_range).end_ms)
        rest = f"; what it leaves out until {until}, if anything, is loaded once it has ended"
    elif part := left_out_span(workflow):
        rest = f"; what it leaves out, {part}, is loaded once it has ended"
    elif workflow.joined:
        joined = " is under way already and loads just that; waiting for it"
    return f"{workflow.queue_id}{joined}: {workflow.symbol} {workflow.type} {range_text(workflow)}{rest}"
