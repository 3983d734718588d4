"""`series` and `symbols`: what is stored, and what the exchange has."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from streamforge.cli import command_options as o
from streamforge.cli import terminal
from streamforge.cli.client import to_json
from streamforge.cli.session import Mode, NothingThere, session
from streamforge.manager import data_answers
from streamforge.manager.origin import Source
from streamforge_utils.model.timeranges import format_ms

if TYPE_CHECKING:
    from rich.text import Text

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
