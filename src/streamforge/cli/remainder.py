"""The part of a requested range that a workflow, which was under way and is joined, does not load."""

from __future__ import annotations

from streamforge.cli import terminal
from streamforge.cli.coverage_text import load_command
from streamforge.cli.session import Where
from streamforge.manager import answers
from streamforge_utils.model.kinds.registry import rule_of, series_of
from streamforge_utils.model.timeranges import TimeRange, format_ms, parse_time_range


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
    if tells_seconds_only(workflow):
        return f"{workflow.queue_id} leaves out {_seconds_left_out(workflow)}"
    return None


def tells_seconds_only(workflow: answers.Started) -> bool:
    """Whether the manager, of an older version, tells how much is left out and not of which range."""
    return workflow.asked_range is None and workflow.behind_seconds > 0


def _seconds_left_out(workflow: answers.Started) -> str:
    lately = terminal.duration(workflow.behind_seconds)
    return f"what came in the {lately} before this request: the same load again, once it has ended, loads that too"


def description(workflow: answers.Started) -> str:
    """What was begun or joined, and which range it loads."""
    found = workflow.time_range
    asked = terminal.asked_for(found.requested, clipped=found.clipped)
    span = terminal.day_span(found.start_ms, found.end_ms)
    joined = rest = ""
    if workflow.joined:
        joined = " is under way already; waiting for it"
    if is_open(workflow) and workflow.asked_range is not None:
        until = format_ms(parse_time_range(workflow.asked_range).end_ms)
        rest = f"; what it leaves out until {until}, if anything, is loaded once it has ended"
    elif part := left_out_span(workflow):
        rest = f"; what it leaves out, {part}, is loaded once it has ended"
    elif tells_seconds_only(workflow):
        rest = f"; it leaves out {_seconds_left_out(workflow)}"
    elif workflow.joined:
        joined = " is under way already and loads just that; waiting for it"
    return f"{workflow.queue_id}{joined}: {workflow.symbol} {workflow.type} {span}{asked}{rest}"
