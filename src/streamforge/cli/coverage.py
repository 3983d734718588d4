"""`coverage`: which ranges of a series are stored, and why the others are not."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from streamforge.cli import output
from streamforge.cli.arguments import check_count, check_words
from streamforge.cli.client import Query, path_part, to_json
from streamforge.cli.errors import ApiProblem, CliError, UsageProblem
from streamforge.cli.session import Mode, Session, Where, session
from streamforge.manager import answers, data_answers
from streamforge_utils.model.names import is_queue_id
from streamforge_utils.model.timeranges import TimeRange, format_ms

HOLES_SHOWN = 10
VERIFY_S = 3600.0
"""How long a server may take to count a series."""
NONE_OPENS = "no candle opens in this range"
EXPLAINED = ("stored", "exchange", "closed", "pending")
"""Verdicts with which a range is complete."""
NOTHING_OVER = "no candle of this range was over when the workflow was planned"


async def coverage(what: Sequence[str], where: Where, *, verify: bool, life: bool, as_json: bool) -> int:
    """Show the coverage of a workflow or a series; 1 if a hole has no reason.

    verify: count what is stored first; 1 also if some of it was gone.
    """
    if verify and life:
        raise UsageProblem("--verify counts what is stored, --all speaks of the rest too: leave one of them out")
    path, query = address_of(what, life=life)
    verified: data_answers.Verification | None = None
    async with session(where, Mode.CHANGE if verify else Mode.READ) as found:
        if verify:
            path, query = await _verify_of(found, what, path, query)
            answer = await found.api.call("POST", path, query=query, within_s=VERIFY_S)
            verified = found.api.read(answer, data_answers.Verification)
            known = verified.coverage
        else:
            answer = await ask(found, path, query, what, where)
            known = found.api.read(answer, data_answers.Coverage)
    if as_json:
        output.write(to_json(msgspec.json.decode(answer)))
    else:
        _tell(known, where)
        if verified is not None:
            _tell_gaps(verified)
    return 0 if known.complete and not (verified and verified.gaps) else 1


async def _verify_of(found: Session, what: Sequence[str], path: str, query: Query) -> tuple[str, Query]:
    if len(what) > 1:
        return f"{path}/verify", query
    workflow = await found.api.get(f"/queues/{what[0]}", answers.Started)
    span = workflow.time_range.span
    if span is None:
        raise CliError(f"{what[0]} has nothing to count: {NOTHING_OVER}")
    path = f"/coverage/{path_part(workflow.symbol)}/{path_part(workflow.type)}/verify"
    return path, {"time_range": request_of(span)}


def _tell_gaps(verified: data_answers.Verification) -> None:
    for gap in verified.gaps[:HOLES_SHOWN]:
        span = output.day_span(gap.start_ms, gap.end_ms)
        output.say(f"  gone: {span}: {output.records(gap.records)} that {_were(gap.records)} in {gap.collection}")
    if len(verified.gaps) > HOLES_SHOWN:
        output.say(f"  and {len(verified.gaps) - HOLES_SHOWN} more ranges")
    counted = f"counted in the store: {output.records(verified.records_counted)}"
    if not verified.gaps:
        output.say(f"{counted}, and none is missing")
        return
    missing = verified.records_missing
    output.say(f"{counted}; {output.records(missing)} that had been proven {_are(missing)} gone")


def _tell(known: data_answers.Coverage, where: Where) -> None:
    output.table(
        ["from", "to", "verdict", "records", "collection or reason"],
        [
            [
                format_ms(segment.start_ms),
                format_ms(segment.end_ms),
                output.styled(segment.verdict),
                output.number(segment.records) if segment.records else "",
                segment.collection or output.VERDICTS.get(segment.verdict, ""),
            ]
            for segment in known.segments
        ],
        right=("records",),
    )
    for one in known.loading:
        output.say(_loading(one, where))
    output.say(f"{_spoken_of(known)}: {_judged(known, where)}")


def _loading(one: data_answers.CoverageLoading, where: Where) -> str:
    """A workflow that is under way in the span, with what it says that it has stored: none of it is proven yet."""
    state = output.state(one.status, one.undriven)
    of = "" if one.records_expected is None else f" of {output.number(one.records_expected)}"
    return (
        f"{one.queue_id} is to load {output.day_span(one.start_ms, one.end_ms)} and has not ended ({state}): "
        f"{output.number(one.records_stored)}{of} records stored, not proven yet; see `streamforge show "
        f"{one.queue_id}{where.flags()}`"
    )


def _spoken_of(known: data_answers.Coverage) -> str:
    """The series and the span that an answer speaks of."""
    name = f"{known.symbol} {known.type}"
    if known.span is None:
        return name
    span = output.day_span(known.span.start_ms, known.span.end_ms)
    which = {"asked": " (what was asked for so far; --all: its whole life)", "life": " (its whole life)"}
    return f"{name}, {span}{which.get(known.span.basis, '')}"


def _judged(known: data_answers.Coverage, where: Where) -> str:
    if not known.complete:
        return f"not complete: {rest(known, where)}"
    if known.span is None:
        return NOTHING_OVER
    if not known.segments:
        return NONE_OPENS
    whole = all(segment.verdict == "stored" for segment in known.segments)
    return "complete: no hole" if whole else "complete: every hole has its reason"


async def ask(found: Session, path: str, query: Query, what: Sequence[str], where: Where) -> bytes:
    """The coverage as the manager answers it. Raises CliError, with what to do, where nothing is known of a series."""
    try:
        return await found.api.call("GET", path, query=query)
    except ApiProblem as error:
        if error.kind != "not-found" or error.meant or len(what) < 2:
            raise
        raise CliError(f"{error} Load it with {load_command(what, where)}") from error


def load_command(what: Sequence[str], where: Where) -> str:
    """what: SYMBOL TYPE [TIME_RANGE]."""
    span = what[2] if len(what) == 3 else "TIME_RANGE"
    return f"`streamforge load {what[0]} {what[1]} {span}{where.starting()}`"


def rest(known: data_answers.Coverage, where: Where) -> str:
    """How what has no reason to be missing is had: by the workflow that is to load it, or by another one."""
    if known.loading:
        return f"wait for what is to be loaded with `streamforge wait {known.loading[0].queue_id}{where.flags()}`"
    lacking = [segment for segment in known.segments if segment.verdict not in EXPLAINED]
    if not lacking:
        return "nothing was asked for yet"
    span = request_of(TimeRange(lacking[0].start_ms, lacking[-1].end_ms))
    return f"load the rest with `streamforge load {known.symbol} {known.type} {span}{where.starting()}`"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def address_of(what: Sequence[str], *, life: bool) -> tuple[str, Query]:
    if life and len(what) != 2:
        raise UsageProblem("--all speaks of the whole life of a series: write SYMBOL TYPE, without a TIME_RANGE")
    if len(what) == 1:
        if not is_queue_id(what[0]):
            raise UsageProblem(f"{what[0][:80]!r} is no queue_id: write QUEUE_ID or SYMBOL TYPE [TIME_RANGE]")
        return f"/queues/{what[0]}/coverage", {}
    check_count(what, "QUEUE_ID or SYMBOL TYPE [TIME_RANGE]")
    symbol, type_name, *given = check_words(what)
    query: Query = {"time_range": given[0]} if given else {}
    if life:
        query = {**query, "life": "true"}
    return f"/coverage/{path_part(symbol)}/{path_part(type_name)}", query


def request_of(span: TimeRange) -> str:
    """A span in the form of a request, which knows whole seconds: wider where it must be."""
    end_ms = -(-span.end_ms // 1000) * 1000
    return f"{format_ms(span.start_ms // 1000 * 1000)}:{format_ms(end_ms)}"
