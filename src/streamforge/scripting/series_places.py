"""Where `read` and `load` look: a folder, or a server."""

from __future__ import annotations

import os
from pathlib import Path

from streamforge.cli.session import Where
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.secret import Secret
from streamforge_utils.reading import TOKEN, URL


class SeriesPlace(Where, frozen=True, kw_only=True):
    """As the common options of commands. given: a token that was passed as an argument."""

    given: Secret | None = None

    def token(self) -> str | None:
        """The token for the server: the argument, else the environment's."""
        return self.given.reveal() if self.given else os.environ.get(TOKEN) or None


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
