"""Where the embedded default keeps its files, and which exchange they come from."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from streamforge.cli.command_errors import UsageProblem
from streamforge.manager.origin import BINANCE, TEST, Origin, called, origin_of, shown_choice
from streamforge_utils.model.errors import ConfigError
from streamforge_utils.model.messages import DECODE_ERRORS

DATA_VARIABLE = "STREAMFORGE_DATA_DIR"
EXCHANGE_VARIABLE = "STREAMFORGE_EXCHANGE_URL"
STORE_VARIABLE = "ARANGO_URL"
FILE = "origin.json"


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


def keeps_store(environ: Mapping[str, str]) -> bool:
    """Whether the store lies in the data directory: no server is named."""
    return not environ.get(STORE_VARIABLE)


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


class _Note(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which exchange the data of a folder are of. choice: what names it to `--exchange`, where that is needed."""

    exchange: str
    choice: str | None = None


def _noted(data: Path) -> _Note | None:
    """Raises ConfigError for a note that is damaged."""
    try:
        return msgspec.json.decode((data / FILE).read_bytes(), type=_Note)
    except FileNotFoundError:
        return None
    except (OSError, *DECODE_ERRORS) as error:
        raise ConfigError(
            f'{data / FILE} is damaged: write {{"exchange": "binance"}} or {{"exchange": "test"}} into it'
        ) from error


def known_origin(data: Path) -> str | None:
    """Which exchange the data in the folder comes from; None if nothing was loaded yet. Raises ConfigError."""
    note = _noted(data)
    return None if note is None else note.exchange


def last_choice(data: Path) -> str | None:
    """What `--exchange` has to say to load from where the last manager of the folder did; None: nothing."""
    note = _noted(data)
    if note is None:
        return None
    # A note without it, of somebody who wrote one by hand, says `test` and means the built-in one.
    return note.choice or (TEST if note.exchange == TEST else None)


def wanted_origin(choice: str | None, urls: tuple[str, ...] | None) -> Origin:
    """Where a manager loads from. choice, urls: what `--exchange` says, and what follows from it."""
    named = TEST if choice == TEST else ",".join(urls) if urls else None
    return Origin(origin_of(choice, urls), named)


def check_origin(data: Path, origin: Origin) -> None:
    """Raises UsageProblem where the folder holds data of another exchange."""
    note = _noted(data)
    if note is not None and note.exchange != origin.exchange:
        known = called(note.exchange)
        option = f"--exchange {shown_choice(note.choice or note.exchange)}"
        raise UsageProblem(
            f"{data} holds data of {known}, not of {called(origin.exchange)}, and the two are never mixed: choose "
            f"another folder with --data, or load from {known} with {option}"
        )


def note_origin(data: Path, origin: Origin) -> None:
    """Note in the folder which exchange its data are of, and for `last_choice` where they were loaded from."""
    note = _Note(origin.exchange, origin.choice)
    if note != _noted(data):
        draft = data / f"{FILE}.{os.getpid()}.tmp"
        draft.write_bytes(msgspec.json.encode(note) + b"\n")
        draft.replace(data / FILE)
