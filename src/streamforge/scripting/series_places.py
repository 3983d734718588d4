"""Where `read` and `load` look: a folder, or a server."""

from __future__ import annotations

import os
from pathlib import Path

from streamforge.cli.session import Where
from streamforge.cli.symbol_words import is_many
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.secret import Secret
from streamforge_utils.reading import TOKEN, URL


class SeriesPlace(Where, frozen=True, kw_only=True):
    """As the common options of commands. given: a token that was passed as an argument."""

    given: Secret | None = None

    def token(self) -> str | None:
        """The token for the server: the argument, else the environment's."""
        return self.given.reveal() if self.given else os.environ.get(TOKEN) or None

    def arguments(self) -> str:
        """What `streamforge.load` needs to mean the same place, after its range; empty where it needs nothing."""
        given = {"data": self.data, "server": self.server, "exchange": self.as_before().exchange}
        return "".join(f", {name}={str(value)!r}" for name, value in given.items() if value is not None)


def check_texts(symbol: object, type: object, time_range: object) -> None:
    """Raises InvalidInput for more symbols than one, and for what is no text."""
    if not isinstance(symbol, str) or is_many(symbol):
        raise InvalidInput(
            "symbol",
            f"symbol {symbol!r:.80} is not one symbol: loop over them, `for symbol in ('BTCUSDT', 'ETHUSDT'):`, and "
            "name one a call, as text",
        )
    if not isinstance(type, str):
        raise InvalidInput("type", f"type {type!r:.80} is no text: write one such as 'api_candles_1m'")
    if not isinstance(time_range, str | None):
        raise InvalidInput(
            "time_range", f"time_range {time_range!r:.80} is no text: write START:END as one, '2024-07-01:2024-08-01'"
        )


def series_place(
    data: str | Path | None, server: str | None, token: str | None, exchange: str | None = None
) -> SeriesPlace:
    """A folder if `data` is given, a server if `server` is, or STREAMFORGE_URL; else the user's folder.

    Raises InvalidInput for arguments that contradict each other.
    """
    if data is not None and server is not None:
        raise InvalidInput("server", "data and server name two places: give one of them")
    if data is not None and not str(data).strip():
        raise InvalidInput("data", "data is empty: name a folder, or leave it out")
    url = server or (None if data is not None else os.environ.get(URL) or None)
    if url is None and token is not None:
        raise InvalidInput("token", "a token is for a server: name it with server, or leave token out")
    if url is not None and exchange is not None:
        raise InvalidInput("exchange", f"exchange is for loads into a folder; the manager at {url} has its own")
    return SeriesPlace(
        data=None if data is None else Path(data),
        server=url,
        exchange=exchange,
        given=None if token is None else Secret(token),
    )
