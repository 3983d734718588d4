"""Where the embedded default keeps its files, and which exchange they come from."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from streamforge.cli.errors import UsageProblem
from streamforge_utils.model.errors import ConfigError

DATA_VARIABLE = "STREAMFORGE_DATA_DIR"
EXCHANGE_VARIABLE = "STREAMFORGE_EXCHANGE_URL"
BINANCE, TEST = "binance", "test"
_ORIGIN_FILE = "origin.json"
_BINANCE_HOSTS = (".binance.com", ".binance.vision", ".binance.us")


def data_directory(given: Path | None, environ: Mapping[str, str] | None = None) -> Path:
    """`given`, else `STREAMFORGE_DATA_DIR`, else the user's folder for data of programs; absolute."""
    environ = os.environ if environ is None else environ
    if given is None:
        named = environ.get(DATA_VARIABLE)
        given = Path(named) if named else default_data_directory(environ)
    if str(given) in ("", "."):
        given = Path.cwd()
    return Path(os.path.abspath(given.expanduser()))


def default_data_directory(environ: Mapping[str, str], platform: str = sys.platform) -> Path:
    """`~/.local/share/streamforge` (or in `XDG_DATA_HOME`); on macOS in `~/Library/Application Support`."""
    home = Path(environ["HOME"]) if environ.get("HOME") else Path.home()
    if platform == "darwin":
        return home / "Library" / "Application Support" / "streamforge"
    base = environ.get("XDG_DATA_HOME", "")
    # The XDG specification: a relative path is to be ignored.
    return (Path(base) if base.startswith("/") else home / ".local" / "share") / "streamforge"


def exchange_urls(choice: str | None, environ: Mapping[str, str] | None = None) -> tuple[str, ...] | None:
    """The base URLs that `--exchange` names; None: what the settings say (Binance). Not for `test`.

    Raises UsageProblem for what is neither a name nor a URL.
    """
    environ = os.environ if environ is None else environ
    if choice is None:
        named = environ.get(EXCHANGE_VARIABLE)
        return _without_user(part.strip() for part in named.split(",") if part.strip()) if named else None
    if choice == BINANCE:
        return None
    urls = _without_user(part.strip() for part in choice.split(",") if part.strip())
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageProblem(
                f"exchange {choice[:80]!r} is not known: write binance, test or a URL (http://HOST:PORT)"
            )
    if not urls:
        raise UsageProblem("exchange '' is not known: write binance, test or a URL (http://HOST:PORT)")
    return urls


def _without_user(urls: Iterable[str]) -> tuple[str, ...]:
    found = tuple(urls)
    if any("@" in urlsplit(url).netloc for url in found):
        raise UsageProblem("exchange URLs hold no user or password: everybody on the machine could read them")
    return found


def origin_of(choice: str | None, urls: tuple[str, ...] | None) -> str:
    """Which exchange the data will come from: `binance`, `test`, or a host. What runs on this machine is `test`."""
    if choice == TEST:
        return TEST
    host = (urlsplit(urls[0]).hostname or "") if urls else ""
    if not host or host.endswith(_BINANCE_HOSTS):
        return BINANCE
    return TEST if host in ("localhost", "::1") or host.startswith("127.") else host


def known_origin(data: Path) -> str | None:
    """Which exchange the data in the folder comes from; None if nothing was loaded yet."""
    noted = _noted(data)
    return None if noted is None else noted["exchange"]


def last_choice(data: Path) -> str | None:
    """What `--exchange` has to say to load from where the last manager of the folder did; None: nothing."""
    noted = _noted(data)
    if noted is None:
        return None
    # A note without it, of somebody who wrote one by hand, says `test` and means the built-in one.
    return noted.get("choice") or (TEST if noted["exchange"] == TEST else None)


def claim_origin(data: Path, choice: str | None, urls: tuple[str, ...] | None) -> None:
    """Let the folder hold data of this exchange only. Raises UsageProblem where it holds another's.

    choice, urls: what `--exchange` says, and what follows from it. Coverage belongs to a series, whoever sent it:
    mixed, what the test exchange made up would pass for Binance's.
    """
    origin = origin_of(choice, urls)
    noted = _noted(data)
    if noted is not None and noted["exchange"] != origin:
        known = noted["exchange"]
        option = f"--exchange {noted.get('choice', known)}"
        raise UsageProblem(
            f"{data} holds data of {_called(known)}, not of {_called(origin)}, and the two are never mixed: "
            f"choose another folder with --data, or load from {_called(known)} with {option}"
        )
    note = {"exchange": origin}
    if choice == TEST or urls:
        note["choice"] = TEST if choice == TEST else ",".join(urls or ())
    if note != noted:
        draft = data / f"{_ORIGIN_FILE}.{os.getpid()}.tmp"
        draft.write_text(json.dumps(note) + "\n", "utf-8")
        draft.replace(data / _ORIGIN_FILE)


def _noted(data: Path) -> dict[str, str] | None:
    """`exchange`, where the data in the folder comes from, and `choice`, where `--exchange` has to name it."""
    try:
        found = json.loads((data / _ORIGIN_FILE).read_text("utf-8"))
        noted = {"exchange": str(found["exchange"])}
        return noted | ({"choice": str(found["choice"])} if "choice" in found else {})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f'{data / _ORIGIN_FILE} is damaged: write {{"exchange": "binance"}} or {{"exchange": "test"}} into it'
        ) from error


def _called(origin: str) -> str:
    return {BINANCE: "Binance", TEST: "the test exchange"}.get(origin, origin)
