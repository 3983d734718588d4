"""Which exchange data come from, and the note of it in a data directory.

Coverage belongs to a series, whoever sent it: mixed, what the test exchange made up would pass for Binance's. So a
store holds the data of one exchange (`keeping/installation.py`); a note in the folder was there before.
"""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from streamforge_utils.model.errors import ConfigError

BINANCE, TEST = "binance", "test"
FILE = "origin.json"
_BINANCE_HOSTS = (".binance.com", ".binance.vision", ".binance.us")


class Origin(msgspec.Struct, frozen=True):
    """Where a manager loads from. choice: what names it to `--exchange`; None: nothing has to."""

    exchange: str
    choice: str | None = None


def origin_of(choice: str | None, urls: tuple[str, ...] | None) -> str:
    """Which exchange the data will come from: `binance`, `test`, or a host. What runs on this machine is `test`."""
    if choice == TEST:
        return TEST
    host = (urlsplit(urls[0]).hostname or "") if urls else ""
    if not host or host.endswith(_BINANCE_HOSTS):
        return BINANCE
    return TEST if host in ("localhost", "::1") or host.startswith("127.") else host


def called(origin: str) -> str:
    """The exchange in a sentence."""
    return {BINANCE: "Binance", TEST: "the test exchange"}.get(origin, origin)


def noted(data: Path) -> dict[str, str] | None:
    """`exchange`, where the data in the folder comes from, and `choice`, where `--exchange` has to name it.

    Raises ConfigError for a note that is damaged.
    """
    try:
        found = json.loads((data / FILE).read_text("utf-8"))
        note = {"exchange": str(found["exchange"])}
        return note | ({"choice": str(found["choice"])} if "choice" in found else {})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f'{data / FILE} is damaged: write {{"exchange": "binance"}} or {{"exchange": "test"}} into it'
        ) from error
