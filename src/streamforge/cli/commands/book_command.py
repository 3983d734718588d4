"""The command `book`: the order book of a symbol at a past moment."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import zip_longest
from typing import Annotated

import msgspec
import typer

from streamforge.cli import command_options as o
from streamforge.cli import terminal
from streamforge.cli.client import Query, path_part, to_json
from streamforge.cli.command_errors import UsageProblem
from streamforge.cli.session import Mode, session
from streamforge.manager.books.answers import LEVELS, Book
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.series import check_symbol
from streamforge_utils.model.timeranges import format_ms, resolve_instant

ANSWER_S = 120.0
"""How long a server may take to rebuild a book."""


async def book(
    symbol: Annotated[str, typer.Argument(metavar="SYMBOL", show_default=False)],
    instant: Annotated[
        str,
        typer.Argument(metavar="INSTANT", help="UTC: 2024-08-01T12:30:15Z, 2024-08-01, -10m.", show_default=False),
    ],
    where: o.AtManager,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, max=10_000, help="At most this many levels a side.")
    ] = LEVELS,
    whole: Annotated[bool, typer.Option("--all", help="Every level that is known.")] = False,
    as_json: o.Json = False,
) -> int:
    """Show the order book of a past moment, as it was recorded, and how far it can be trusted.

    It is rebuilt from a whole book that was stored before INSTANT, and the changes behind it. Exit code 1 if it is not
    verified; the reason is shown.
    """
    symbol, instant = _checked(symbol, instant)
    query: Query = {"at": instant, "limit": "all" if whole else limit}
    async with session(where, Mode.READ) as found:
        answer = await found.api.call("GET", f"/books/{path_part(symbol)}", query=query, within_s=ANSWER_S)
        told = found.api.read(answer, Book)
    if as_json:
        terminal.write(to_json(msgspec.json.decode(answer)))
    else:
        terminal.table(
            ["bid quantity", "bid", "ask", "ask quantity"],
            [_row(bid, ask) for bid, ask in zip_longest(told.bids, told.asks)],
            right=("bid quantity", "bid"),
        )
        for line in _lines(told):
            terminal.say(line)
    return 0 if told.trust == "verified" else 1


def _checked(symbol: str, instant: str) -> tuple[str, str]:
    """The symbol in its one spelling, and the instant. Raises UsageProblem or InvalidInput."""
    now_ms = time.time_ns() // 1_000_000
    try:
        resolve_instant(instant, now_ms, "INSTANT")
    except InvalidInput:
        try:
            resolve_instant(symbol, now_ms)
        except InvalidInput:
            pass
        else:
            raise UsageProblem(f"the order is SYMBOL INSTANT: write {instant} {symbol}") from None
        raise
    return check_symbol(symbol), instant


def _row(bid: Sequence[str] | None, ask: Sequence[str] | None) -> list[str]:
    bid_price, bid_quantity = bid or ("", "")
    ask_price, ask_quantity = ask or ("", "")
    return [bid_quantity, bid_price, ask_price, ask_quantity]


def _lines(told: Book) -> list[str]:
    """What is to be known of the book beside its levels."""
    levels = f"{len(told.bids)} of {told.bids_known:,} bids and {len(told.asks)} of {told.asks_known:,} asks"
    why = f": {told.why}" if told.why else ""
    verdict = ""
    if told.verdict not in (None, "stored"):
        verdict = f"; the coverage says of the moment: {told.verdict}{f' ({told.cause})' if told.cause else ''}"
    return [
        f"{told.symbol} at {format_ms(told.at_ms)}: {told.trust}{why}{verdict}",
        f"its last diff is that of {format_ms(told.time_ms)}, update {told.last_update_id}; {levels} are shown",
        f"rebuilt from the book of {format_ms(told.checkpoint.time_ms)} in {told.checkpoint.collection}, and "
        f"{told.diffs:,} diffs behind it",
    ]
