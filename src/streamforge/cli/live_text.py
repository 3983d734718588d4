"""How a live workflow does, in words."""

from __future__ import annotations

from streamforge.cli import terminal
from streamforge.manager import answers
from streamforge.manager.workflows.live.answers import Live

_HOLES_SHOWN = 5


def live_text(workflow: answers.WorkflowSummary, live: Live) -> str:
    """`live, proven through 12:00:03, 1.2 s ago, 3,120 stored, 28/s, last frame 0.1 s ago`."""
    progress = workflow.progress
    parts = [live.state if workflow.undriven is None else "not driven"]
    if live.proven_through is None:
        parts.append("nothing proven yet")
    else:
        ago = "" if live.behind_seconds is None else f", {terminal.duration(live.behind_seconds)} ago"
        parts.append(f"proven through {terminal.moment(live.proven_through)}{ago}")
    parts.append(f"{terminal.number(progress.records_stored)} stored")
    if live.records_waiting:
        parts.append(f"{terminal.number(live.records_waiting)} on their way")
    if progress.rate:
        parts.append(terminal.per_second(progress.rate))
    if live.frame_age_seconds is not None:
        parts.append(f"last frame {terminal.duration(live.frame_age_seconds)} ago")
    if live.trust and live.verified_share is None:
        parts.append(f"its book is {live.trust}")
    if live.verified_share is not None:
        parts.append(f"{live.verified_share:.1%} verified")
    if live.lost_seconds:
        parts.append(f"{terminal.duration(live.lost_seconds)} lost")
    if live.open_holes:
        parts.append(f"{live.open_holes} hole{'' if live.open_holes == 1 else 's'} open")
    if live.refused:
        parts.append(f"{terminal.number(live.refused)} messages refused")
    if live.supplement:
        parts.append(f"{live.supplement} loads what lacks")
    return ", ".join(parts)


def live_lines(live: Live) -> list[str]:
    """What `show` tells beside that: the stream, and each hole with how it is filled."""
    lines = []
    if live.untraded:
        lines.append(f"careful: the symbol is not traded at the exchange ({live.untraded}): nothing comes")
    if live.trust:
        why = f" ({live.why})" if live.why else ""
        shares = "" if live.clean_share is None else f"; unverified, but clean: {live.clean_share:.1%} of the time"
        lines.append(f"order book: {live.trust}{why}{shares}")
        if live.agreed_age_seconds is not None:
            ago = terminal.duration(live.agreed_age_seconds)
            lines.append(f"order book: compared with the exchange's best prices {ago} ago")
        if live.unchecked_seconds is not None:
            for_so_long = terminal.duration(live.unchecked_seconds)
            lines.append(
                f"careful: the order book changed for {for_so_long} without being compared with the exchange's best "
                "prices: what is wrong in it is not noticed"
            )
    told = [
        (live.reconnects, "reconnects"),
        (live.backfilled, "backfilled by requests"),
        (live.duplicates, "came twice"),
        (live.held_bytes, "bytes wait for the topic"),
        (live.dropped, "dropped as there was no room"),
    ]
    stream = [f"{terminal.number(count)} {words}" for count, words in told if count]
    if live.clock_offset_ms is not None:
        stream.append(f"the exchange's clock is {live.clock_offset_ms:+.0f} ms ahead")
    if stream:
        lines.append(f"stream: {', '.join(stream)}")
    if live.failure:
        lines.append(f"stream: the last connection that failed: {live.failure}")
    if live.refused:
        count = terminal.number(live.refused)
        lines.append(f"careful: {count} messages of the stream were refused; the last: {live.refusal}")
    for hole in live.holes[:_HOLES_SHOWN]:
        ids = "" if hole.first_id is None else f", ids {hole.first_id} to {hole.last_id}"
        lines.append(f"hole: {hole.start} to {hole.end} ({hole.verdict}{ids})")
    if more := live.open_holes - len(live.holes[:_HOLES_SHOWN]):
        lines.append(f"hole: {more} more")
    if live.supplement_failure:
        when = f"; again at {live.repair_at}" if live.repair_at else ""
        lines.append(f"careful: what lacks was not loaded: {live.supplement_failure}{when}")
    return lines
