"""The commands `coverage`, `series` and `symbols`: what is stored of which series, and what there could be."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from streamforge.cli import command_options as o
from streamforge.cli import terminal
from streamforge.cli.arguments import check_count, check_words
from streamforge.cli.client import Query, path_part, to_json
from streamforge.cli.command_errors import ApiProblem, CliError, UsageProblem
from streamforge.cli.coverage_text import by_day, load_command, none_over, none_within, request_of, rest
from streamforge.cli.session import Mode, NothingThere, Session, Where, session
from streamforge.manager import answers
from streamforge.manager.coverage import answers as data_answers
from streamforge.manager.origin import Source
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.names import is_queue_id
from streamforge_utils.model.series import check_symbol
from streamforge_utils.model.timeranges import format_ms

if TYPE_CHECKING:
    from rich.text import Text


HOLES_SHOWN = 10
VERIFY_S = 3600.0
"""How long a server may take to count a series."""


async def coverage(
    what: Annotated[list[str], typer.Argument(metavar="QUEUE_ID | SYMBOL TYPE [TIME_RANGE]", show_default=False)],
    where: o.AtManager,
    verify: Annotated[
        bool, typer.Option("--verify", help="Count the records in the store first, and mark what is gone.")
    ] = False,
    life: o.WholeLife = False,
    as_json: o.Json = False,
) -> int:
    """Show which time ranges are stored, and a reason for each one that is not.

    Without TIME_RANGE it speaks of what was asked for so far, from the first range to the last, and names that span;
    what lies between and was never loaded is unknown.
    Exit code 1 if a range is not loaded (unknown), missing although the exchange has it (ours), or lost; what retention
    has removed (expired) does not count as missing.
    """
    if verify and life:
        raise UsageProblem("--verify counts what is stored, --all speaks of the rest too: leave one of them out")
    path, query = address_of(what, where, life=life)
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
        terminal.write(to_json(msgspec.json.decode(answer)))
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
        raise CliError(f"{what[0]} has nothing to count: {none_over(workflow.type)}")
    path = f"/coverage/{path_part(workflow.symbol)}/{path_part(workflow.type)}/verify"
    return path, {"time_range": request_of(span)}


def _tell_gaps(verified: data_answers.Verification) -> None:
    for gap in verified.gaps[:HOLES_SHOWN]:
        span, were = terminal.day_span(gap.start_ms, gap.end_ms), "was" if gap.records == 1 else "were"
        terminal.say(f"  gone: {span}: {terminal.records(gap.records)} that {were} in {gap.collection}")
    if len(verified.gaps) > HOLES_SHOWN:
        terminal.say(f"  and {len(verified.gaps) - HOLES_SHOWN} more ranges")
    counted = f"counted in the ranges that coverage calls stored: {terminal.records(verified.records_counted)}"
    if not verified.gaps:
        terminal.say(f"{counted}, and none of those proven is missing")
        return
    missing = verified.records_missing
    terminal.say(f"{counted}; {terminal.records(missing)} that had been proven {'is' if missing == 1 else 'are'} gone")


def _tell(known: data_answers.Coverage, where: Where) -> None:
    terminal.table(
        ["from", "to", "verdict", "records", "collection or reason"],
        [
            [
                format_ms(segment.start_ms),
                format_ms(segment.end_ms),
                terminal.styled(segment.verdict),
                terminal.number(segment.records) if segment.records else "",
                _where_or_why(segment),
            ]
            for segment in by_day(known.segments)
        ],
        right=("records",),
    )
    for one in known.loading:
        terminal.say(_loading(one, where))
    terminal.say(f"{_spoken_of(known)}: {_judged(known, where)}")


def _where_or_why(segment: data_answers.Segment) -> str:
    cause = segment.cause or ""
    if segment.collection is not None:
        return f"{segment.collection} ({cause})" if cause else segment.collection
    meaning = terminal.VERDICTS.get(segment.verdict, "")
    return cause or meaning if segment.verdict in ("unknown", "lost") else meaning


def _loading(one: data_answers.CoverageLoading, where: Where) -> str:
    """A workflow that is under way in the span, with what it says that it has stored: none of it is proven yet."""
    state = terminal.state(one.status, one.undriven)
    of = "" if one.records_expected is None else f" of {terminal.number(one.records_expected)}"
    return (
        f"{one.queue_id} is to load {terminal.day_span(one.start_ms, one.end_ms)} and has not ended ({state}): "
        f"{terminal.number(one.records_stored)}{of} records stored, not proven yet; see `streamforge show "
        f"{one.queue_id}{where.flags()}`"
    )


def _spoken_of(known: data_answers.Coverage) -> str:
    """The series and the span that an answer speaks of."""
    name = f"{known.symbol} {known.type}"
    if known.span is None:
        return name
    span = terminal.day_span(known.span.start_ms, known.span.end_ms)
    which = {"asked": " (what was asked for so far; --all: its whole life)", "life": " (its whole life)"}
    return f"{name}, {span}{which.get(known.span.basis, '')}"


def _judged(known: data_answers.Coverage, where: Where) -> str:
    if not known.complete:
        return f"not complete: {rest(known, where)}"
    if known.span is None:
        return none_over(known.type)
    if not known.segments:
        return none_within(known.type)
    if all(segment.verdict == "stored" for segment in known.segments):
        return "complete: no hole"
    removed = sum(one.seconds for one in known.verdicts if one.verdict == "expired")
    expired = f"; retention has removed {terminal.duration(removed)} of it" if removed else ""
    return f"complete: every hole has its reason{expired}"


async def ask(found: Session, path: str, query: Query, what: Sequence[str], where: Where) -> bytes:
    """The coverage as the manager answers it. Raises CliError, with what to do, where nothing is known of a series."""
    try:
        return await found.api.call("GET", path, query=query)
    except ApiProblem as error:
        if error.kind != "not-found" or error.meant or len(what) < 2:
            raise
        raise CliError(f"{error} Load it with {load_command(what, where)}") from error


def types_of(word: str, where: Where) -> str:
    """Which command lists the types that are stored of `word`, where it can be a symbol; else empty."""
    try:
        symbol = check_symbol(word)
    except InvalidInput:
        return ""
    return f"; of a symbol, `streamforge series {symbol}{where.flags()}` lists the types that are stored"


def address_of(what: Sequence[str], where: Where, *, life: bool) -> tuple[str, Query]:
    if life and len(what) != 2:
        raise UsageProblem("--all speaks of the whole life of a series: write SYMBOL TYPE, without a TIME_RANGE")
    if len(what) == 1:
        if not is_queue_id(what[0]):
            types = types_of(what[0], where)
            raise UsageProblem(f"{what[0][:80]!r} is no queue_id: write QUEUE_ID or SYMBOL TYPE [TIME_RANGE]{types}")
        return f"/queues/{what[0]}/coverage", {}
    check_count(what, "QUEUE_ID or SYMBOL TYPE [TIME_RANGE]")
    symbol, type_name, *given = check_words(what)
    query: Query = {"time_range": given[0]} if given else {}
    if life:
        query = {**query, "life": "true"}
    return f"/coverage/{path_part(symbol)}/{path_part(type_name)}", query


SYMBOLS_S = 30.0
"""The manager gives the exchange less."""
_WILD = frozenset("*?[")


async def series(
    where: o.AtManager,
    pattern: Annotated[
        str | None, typer.Argument(metavar="[PATTERN]", help="Of the symbol: BTCUSDT, '*USDT'; or a part of it.")
    ] = None,
    as_json: o.Json = False,
) -> int:
    """List the series that are stored: from when to when, how many records, and whether there are holes."""
    raw: list[msgspec.Raw] = []
    try:
        async with session(where, Mode.READ) as found:
            raw, _ = await found.api.pages("/series", "series")
    except NothingThere as error:
        if not as_json:
            terminal.say(str(error))
    read = [(msgspec.json.decode(item, type=data_answers.Series), item) for item in raw]
    chosen = sorted((pair for pair in read if _fits(pair[0].symbol, pattern)), key=lambda pair: _order(pair[0]))
    if as_json:
        terminal.write(to_json({"series": [msgspec.json.decode(item) for _, item in chosen]}))
    elif chosen:
        terminal.table(
            ["symbol", "type", "from", "to", "records", "holes"],
            [_row(one) for one, _ in chosen],
            right=("records", "holes"),
        )
    elif raw:
        terminal.say(f"no series fits {pattern!r}: `streamforge series` lists all {len(raw)}")
    return 0


def _order(one: data_answers.Series) -> tuple[str, int, str]:
    return one.symbol, one.start_ms or 0, one.type


def _row(one: data_answers.Series) -> list[str | Text]:
    span = [format_ms(ms) if ms is not None else "nothing proven" for ms in (one.start_ms, one.end_ms)]
    # Between `from` and `to`: what else was asked for, and is not stored, `coverage` tells.
    holes: str | Text = terminal.styled("complete", "none")
    if one.holes:
        holes = f"{one.holes}, each with its reason" if one.complete else f"{one.holes}, not complete"
    return [one.symbol, one.type, *span, terminal.number(one.records) or "?", holes]


def _fits(symbol: str, pattern: str | None) -> bool:
    """As the API's `GET /symbols` chooses."""
    wanted = (pattern or "*").upper()
    return fnmatchcase(symbol.upper(), wanted if _WILD & set(wanted) else f"*{wanted}*")


async def symbols(
    where: o.AtManagerAndExchange,
    pattern: Annotated[
        str | None, typer.Argument(metavar="[PATTERN]", help="BTCUSDT, '*USDT'; or a part of the symbol: btc.")
    ] = None,
    status: Annotated[
        str | None,
        typer.Option("--status", metavar="STATUS", help="Only these: TRADING, BREAK, … (the exchange's words)."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=10_000, help="At most so many.")] = 50,
    as_json: o.Json = False,
) -> int:
    """List the symbols that the exchange has, with their status."""
    query: dict[str, str | int | list[str]] = {"limit": limit}
    query.update({name: value for name, value in (("pattern", pattern), ("status", status)) if value is not None})
    async with session(where.as_before(), Mode.ASK, loads=True) as found:
        exchange = await found.api.get("/exchange", Source)
        with terminal.said_late(f"waiting for the symbols of the exchange at {', '.join(exchange.urls)}"):
            answer = await found.api.call("GET", "/symbols", query=query, within_s=SYMBOLS_S, tries=1)
        listed = found.api.read(answer, data_answers.Symbols)
    if as_json:
        terminal.write(to_json(msgspec.json.decode(answer)))
    elif listed.symbols:
        terminal.table(
            ["symbol", "status", "base", "quote"],
            [[one.symbol, terminal.styled(one.status), one.base_asset, one.quote_asset] for one in listed.symbols],
        )
        if listed.total > len(listed.symbols):
            terminal.say(
                f"{len(listed.symbols)} of {listed.total:,} are shown; see more with --limit, fewer by a PATTERN"
            )
    else:
        asked = " and ".join(
            text for text in (pattern and f"the pattern {pattern!r}", status and f"the status {status!r}") if text
        )
        terminal.say(f"the exchange has no symbol that fits {asked}" if asked else "the exchange lists no symbol")
    return 0
