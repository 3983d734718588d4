"""The settings of the servers: Kafka as the bus and ArangoDB as the store, by the first generation's names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec

from streamforge_utils.model.secret import Secret
from streamforge_utils.runtime.life.environment import variable, written

_SERVER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})")
_HIGHEST_PORT = 65535
_NOT_ALONE = ("CA_PATH", "STREAMFORGE_KAFKA_SASL_MECHANISM")
"""They may be set where Kafka is not the bus: they are not Kafka's alone, or do nothing by themselves."""


def _servers(text: str) -> str:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    for part in parts:
        match = _SERVER.fullmatch(part)
        if match is None or not 0 < int(match[2]) <= _HIGHEST_PORT:
            raise ValueError(f"{part[:80]!r} has not the form HOST:PORT")
    if not parts:
        raise ValueError("it names no broker")
    return ",".join(parts)


class KafkaSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the brokers are reached. Without `bootstrap_servers` the bus is the embedded one."""

    bootstrap_servers: Annotated[
        str,
        variable(
            "KAFKA_BOOTSTRAP_SERVERS",
            "brokers, `HOST:PORT` each, with commas between them; if set, Kafka is the bus",
            default="the embedded bus",
            check=_servers,
        ),
    ] = ""
    user: Annotated[str, variable("KAFKA_USER", "user name at the brokers (SASL)")] = ""
    password: Annotated[Secret | None, variable("KAFKA_PASSWORD", "the password of `KAFKA_USER`")] = None
    user_producer: Annotated[
        str, variable("KAFKA_USER_PRODUCER", "another user to send with", default="`KAFKA_USER`")
    ] = ""
    password_producer: Annotated[
        Secret | None, variable("KAFKA_PASSWORD_PRODUCER", "the password of `KAFKA_USER_PRODUCER`")
    ] = None
    user_consumer: Annotated[
        str, variable("KAFKA_USER_CONSUMER", "another user to read with", default="`KAFKA_USER`")
    ] = ""
    password_consumer: Annotated[
        Secret | None, variable("KAFKA_PASSWORD_CONSUMER", "the password of `KAFKA_USER_CONSUMER`")
    ] = None
    ca_path: Annotated[
        Path | None,
        variable(
            "KAFKA_CA_PATH",
            "PEM file of the CA that signed the brokers' certificates; it may be replaced at any time",
            default="`CA_PATH`, else the system's CAs",
        ),
    ] = None
    other_ca_path: Annotated[Path | None, variable("CA_PATH", "another name of `KAFKA_CA_PATH`, which goes first")] = (
        None
    )
    security_protocol: Annotated[
        Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] | None,
        variable(
            "STREAMFORGE_KAFKA_SECURITY_PROTOCOL",
            "how the brokers are connected to",
            default="`SASL_SSL` with a user, `SSL` with a CA only, else `PLAINTEXT`",
        ),
    ] = None
    sasl_mechanism: Annotated[
        Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"],
        variable("STREAMFORGE_KAFKA_SASL_MECHANISM", "how a user authenticates"),
    ] = "SCRAM-SHA-512"

    @property
    def ca(self) -> Path | None:
        """The CA file."""
        return self.ca_path or self.other_ca_path

    @property
    def ca_setting(self) -> str:
        """The variable that named the CA file."""
        return "CA_PATH" if self.ca_path is None and self.other_ca_path is not None else "KAFKA_CA_PATH"

    @property
    def protocol(self) -> str:
        """How the brokers are connected to."""
        if self.security_protocol is not None:
            return self.security_protocol
        if self.user or self.user_producer or self.user_consumer:
            return "SASL_SSL"
        return "SSL" if self.ca is not None else "PLAINTEXT"

    def problems(self) -> list[str]:
        """What does not go together, each with the variable to change."""
        if not self.bootstrap_servers:
            return [
                f"{name} is set, but KAFKA_BOOTSTRAP_SERVERS is not: name the brokers there, or unset {name}"
                for name in written(self)
                if name not in _NOT_ALONE
            ]
        found: list[str] = []
        for suffix, user, password in self._logins():
            if user and not password:
                found.append(f"KAFKA_PASSWORD{suffix} is missing: KAFKA_USER{suffix} has a password")
            if password and not user:
                found.append(f"KAFKA_USER{suffix} is missing: KAFKA_PASSWORD{suffix} is set")
        if not self.user and bool(self.user_producer) != bool(self.user_consumer):
            missing = "KAFKA_USER_CONSUMER" if self.user_producer else "KAFKA_USER_PRODUCER"
            found.append(f"{missing} is missing: set it, or KAFKA_USER for both")
        sasl = self.protocol.startswith("SASL_")
        anybody = bool(self.user or self.user_producer or self.user_consumer)
        if sasl and not anybody:
            found.append(f"KAFKA_USER is missing: STREAMFORGE_KAFKA_SECURITY_PROTOCOL is {self.protocol}")
        if anybody and not sasl:
            found.append(
                f"STREAMFORGE_KAFKA_SECURITY_PROTOCOL: {self.protocol} has no users, but KAFKA_USER is set: unset one"
            )
        if self.ca_path is not None and not self.protocol.endswith("SSL"):
            found.append(
                f"STREAMFORGE_KAFKA_SECURITY_PROTOCOL: {self.protocol} is not encrypted, but KAFKA_CA_PATH is set: "
                "unset one"
            )
        return found

    def environment(self, user: str = "", password: Secret | None = None) -> dict[str, str]:
        """The variables with which another process has the same settings. user, password: who it logs in as instead."""
        if not self.bootstrap_servers:
            return {}
        changed: dict[str, Any] = {"ca_path": self.ca, "other_ca_path": None}  # under the name that launchers know
        if user:
            changed |= dict.fromkeys(("user_producer", "user_consumer"), "")
            changed |= dict.fromkeys(("password_producer", "password_consumer"))
            changed |= {"user": user, "password": password}
        return written(msgspec.structs.replace(self, **changed))

    def _logins(self) -> tuple[tuple[str, str, Secret | None], ...]:
        return (
            ("", self.user, self.password),
            ("_PRODUCER", self.user_producer, self.password_producer),
            ("_CONSUMER", self.user_consumer, self.password_consumer),
        )


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
    user: Annotated[str, variable("ARANGO_USER", "user name at ArangoDB")] = ""
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
