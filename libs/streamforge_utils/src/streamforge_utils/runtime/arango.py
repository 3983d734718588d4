"""The settings that make ArangoDB the store, by the names that the first generation gave them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from streamforge_utils.model.secret import Secret
from streamforge_utils.runtime.environment import variable, written

_TRADITIONAL = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_EXTENDED_BYTES = 128


def _url(text: str) -> str:
    url = text.strip().rstrip("/")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("it has not the form http://HOST:PORT") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or parts.query or parts.fragment:
        raise ValueError("it has not the form http://HOST:PORT or https://HOST:PORT")
    if re.search(r"/_(db|api|admin)(/|$)", parts.path):
        raise ValueError(f"it ends in {parts.path[:40]}: leave that out; the database belongs into ARANGO_DB")
    return url


def _shown(text: str) -> str:
    """The URL without what may be a password, for it is repeated in messages."""
    if "@" in urlsplit(text).netloc:
        raise ValueError("a user and a password belong into ARANGO_USER and ARANGO_PASSWORD, not into the URL")
    return text


def _checked_url(text: str) -> str:
    return _shown(_url(text))


def _database(text: str) -> str:
    if _TRADITIONAL.fullmatch(text):
        return text
    # From 3.12 on names may hold almost anything.
    if len(text.encode()) > _EXTENDED_BYTES or text != text.strip() or not text.isprintable() or set(text) & set("/:"):
        raise ValueError("no database can have that name")
    return text


class ArangoSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the server is reached. Without `url` the store is the embedded one."""

    url: Annotated[
        str,
        # Unseen: somebody may have written a password into it.
        variable(
            "ARANGO_URL",
            "server or coordinator, `http://HOST:PORT` or `https://HOST:PORT`; if set, ArangoDB is the store",
            default="the embedded store",
            check=_checked_url,
            unseen=True,
        ),
    ] = ""
    database: Annotated[str, variable("ARANGO_DB", "the database, which must exist", check=_database)] = ""
    user: Annotated[str, variable("ARANGO_USER", "who logs in at ArangoDB")] = ""
    password: Annotated[
        Secret | None, variable("ARANGO_PASSWORD", "the password of `ARANGO_USER`", default="no password")
    ] = None
    ca_path: Annotated[
        Path | None,
        variable(
            "STREAMFORGE_ARANGO_CA_PATH",
            "PEM file of the CA that signed the server's certificate",
            default="the system's CAs",
        ),
    ] = None

    def problems(self) -> list[str]:
        """What does not go together, each with the variable to change."""
        if not self.url:
            return [
                f"{name} is set, but ARANGO_URL is not: name the server there, or unset {name}"
                for name in written(self)
            ]
        found: list[str] = []
        if not self.database:
            found.append("ARANGO_DB is missing: name the database in which records and states are kept")
        if self.password and self.password.reveal().endswith(("\n", "\r")):
            found.append("ARANGO_PASSWORD ends in a line break, as when it was made of a file: leave that out")
        if self.password and not self.user:
            found.append("ARANGO_USER is missing: ARANGO_PASSWORD is set")
        if self.ca_path is not None and not self.url.startswith("https:"):
            found.append(
                "ARANGO_URL: http:// is not encrypted, but STREAMFORGE_ARANGO_CA_PATH is set: "
                "write https://, or unset it"
            )
        return found

    def environment(self) -> dict[str, str]:
        """The variables with which another process has the same settings."""
        return written(self) if self.url else {}
