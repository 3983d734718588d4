"""The order book of a past moment, for a notebook or a script."""

from __future__ import annotations

from pathlib import Path

from streamforge.cli.client import path_part
from streamforge.cli.commands.book_command import ANSWER_S
from streamforge.cli.session import Mode, session
from streamforge.manager.books.answers import LEVELS, Book
from streamforge.scripting.background import Background
from streamforge.scripting.series_places import SeriesPlace, check_texts, series_place
from streamforge_utils.model.errors import InvalidInput


def book(
    symbol: str,
    at: str,
    *,
    limit: int | None = LEVELS,
    data: str | Path | None = None,
    server: str | None = None,
    token: str | None = None,
) -> Book:
    """The order book of a symbol at a past moment, as it was recorded, and how far it can be trusted (`trust`, `why`).

        streamforge.book("BTCUSDT", "2026-11-26T12:00:00Z").bids[0]

    at: an instant in UTC, or relative to now (`-10m`). limit: so many levels a side at most, None: all that are known.
    data, server, token: as `streamforge.read` takes them.

    Raises StreamForgeError with the reason where there is no book of that moment, or the place does not answer.
    """
    check_texts(symbol, "", None)
    if not isinstance(at, str):
        raise InvalidInput("at", f"at {at!r:.80} is no text: write an instant such as '2024-08-01T12:30:15Z'")
    asking = Background(lambda _: _asked(series_place(data, server, token), symbol, at, limit), f"book of {symbol}")
    try:
        return asking.wait()
    finally:
        asking.cancel()


async def _asked(place: SeriesPlace, symbol: str, at: str, limit: int | None) -> Book:
    async with session(place, Mode.READ) as found:
        query = {"at": at, "limit": "all" if limit is None else limit}
        answer = await found.api.call("GET", f"/books/{path_part(symbol)}", query=query, within_s=ANSWER_S)
        return found.api.read(answer, Book)
