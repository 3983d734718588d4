"""What commands say of coverage: ranges with their verdicts, and what to do where a range is not stored."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from streamforge.cli import terminal
from streamforge.cli.session import Where
from streamforge.manager import answers, data_answers
from streamforge_utils.model.coverage import COMPLETE
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.kinds.registry import rule_of, series_of
from streamforge_utils.model.timeranges import TimeRange, format_ms, is_relative, resolve_time_range

NONE_OPENS = "no candle opens in this range"
NOTHING_OVER = "no candle of this range was over when the workflow was planned"
_SHOWN = 12


def show_segments(segments: Sequence[data_answers.Segment]) -> None:
    """Coverage on stdout, a line per range."""
    for segment in segments[:_SHOWN]:
        what = terminal.VERDICTS.get(segment.verdict, "")
        if segment.verdict == "stored":
            count = f"{terminal.records(segment.records)} in " if segment.records else ""
            what = f"{count}{segment.collection}"
        terminal.write(f"  {segment.verdict:<9} {terminal.day_span(segment.start_ms, segment.end_ms)}: {what}")
    if len(segments) > _SHOWN:
        terminal.write(f"  and {len(segments) - _SHOWN} more ranges: see `streamforge coverage`")


def request_of(span: TimeRange) -> str:
    """A span in the form of a request, which knows whole seconds: wider where it must be."""
    end_ms = -(-span.end_ms // 1000) * 1000
    return f"{format_ms(span.start_ms // 1000 * 1000)}:{format_ms(end_ms)}"


def load_command(what: Sequence[str], where: Where) -> str:
    """The command that loads a series, in backquotes. what: SYMBOL TYPE [TIME_RANGE]."""
    span = what[2] if len(what) == 3 else "TIME_RANGE"
    return f"`streamforge load {what[0]} {what[1]} {span}{where.starting()}`"


def wait_command(queue_id: str, where: Where) -> str:
    """The command that waits for a workflow, in backquotes."""
    return f"`streamforge wait {queue_id}{where.flags()}`"


def rest(known: data_answers.Coverage, where: Where) -> str:
    """How the ranges without a reason are loaded: by the workflow that is to load them, or by another one."""
    if known.loading:
        return f"wait for what is to be loaded with {wait_command(known.loading[0].queue_id, where)}"
    lacking = [segment for segment in known.segments if segment.verdict not in COMPLETE]
    if not lacking:
        return "nothing was asked for yet"
    span = request_of(TimeRange(lacking[0].start_ms, lacking[-1].end_ms))
    return f"load the rest with {load_command((known.symbol, known.type, span), where)}"


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
    load = load_command((workflow.symbol, workflow.type, words), where)
    return f"{NOTHING_OVER}, the first one ends at {format_ms(ends_ms)}: load it then with {load}"


def no_longer(workflow: answers.Started, where: Where) -> str:
    """What to do where a range that was proven complete is not complete now."""
    load = load_command((workflow.symbol, workflow.type, str(workflow.time_range.span)), where)
    return (
        f"it was complete when it was proven, {terminal.moment(workflow.proven_at)}, and is not now: what is `ours` is "
        f"gone, and what is `unknown` was removed; load it with {load}"
    )
