"""Who may do what: bearer tokens with the roles reader and operator, and where the server may listen without them."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec

from streamforge_utils.model.errors import ConfigError
from streamforge_utils.model.secret import Secret
from streamforge_utils.runtime.life.environment import load, variable

TOKENS_FILE = "STREAMFORGE_TOKENS_FILE"
READER_TOKEN = "STREAMFORGE_READER_TOKEN"  # noqa: S105
OPERATOR_TOKEN = "STREAMFORGE_OPERATOR_TOKEN"  # noqa: S105
LEAST_LENGTH = 16
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}", re.ASCII)
_FORM = re.compile(r"[A-Za-z0-9._~+/=-]{16,512}")


class TokenSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens that open the API to other machines."""

    file: Annotated[
        Path | None,
        variable(TOKENS_FILE, "a file with lines `reader:TOKEN` or `operator:NAME:TOKEN`; they open the API"),
    ] = None
    operator: Annotated[Secret | None, variable(OPERATOR_TOKEN, "one operator's token")] = None
    reader: Annotated[Secret | None, variable(READER_TOKEN, "one reader's token")] = None


class Access(StrEnum):
    """reader: every GET. operator: everything."""

    READER = "reader"
    OPERATOR = "operator"

    def may(self, needed: Access) -> bool:
        """Whether who has this role may do what needs `needed`."""
        return self is Access.OPERATOR or self is needed


class Tokens:
    """The known tokens; only their hashes are kept, and nothing of them is ever shown."""

    def __init__(self, tokens: Iterable[tuple[Access, str] | tuple[Access, str, str]]) -> None:
        """tokens: each with its role and, where it has one, its name."""
        self._known = [(one[0], _digest(one[1]), one[2] if len(one) == 3 else one[0].value) for one in tokens]

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Tokens | None:
        """The tokens that the environment names, in a file and in two variables; None if it names none.

        Raises ConfigError if the file cannot be read or holds none, or if what is named is no token.
        """
        settings = load(TokenSettings, environ)
        found: list[tuple[Access, str, str]] = []
        if settings.file is not None:
            try:
                text = settings.file.read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "it is not text"
                raise ConfigError(f"{TOKENS_FILE}: cannot read {settings.file}: {reason}") from error
            found += parsed(text, f"{TOKENS_FILE} {settings.file}")
        given = ((READER_TOKEN, Access.READER, settings.reader), (OPERATOR_TOKEN, Access.OPERATOR, settings.operator))
        for name, role, token in given:
            if token:
                found += parsed(f"{role}:{token.reveal()}", name)
        return cls(found) if found else None

    def with_token(self, role: Access, token: str) -> Tokens:
        """These and one more."""
        found = Tokens([(role, token)])
        found._known += self._known
        return found

    def holder_of(self, token: str) -> tuple[Access, str] | None:
        """The role that `token` has (of several the greatest) and its name, in a time that does not depend on the known
        tokens."""
        given = _digest(token)
        found: tuple[Access, str] | None = None
        for role, known, name in self._known:
            if hmac.compare_digest(given, known) and (found is None or found[0] is not Access.OPERATOR):
                found = role, name
        return found

    def role_of(self, token: str) -> Access | None:
        """The role alone."""
        found = self.holder_of(token)
        return None if found is None else found[0]

    def __repr__(self) -> str:
        return f"Tokens({len(self._known)} known)"


def parsed(text: str, source: str) -> list[tuple[Access, str, str]]:
    """Role, token and name of lines `role:token` and `role:name:token`, but for empty ones and `#` comments.

    A token without a name is called by its role. Raises ConfigError naming the line.
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        role, colon, token = line.partition(":")
        if not colon or role.strip() not in tuple(Access):
            raise ConfigError(
                f"{source}, line {number}: write reader:TOKEN or operator:TOKEN, with a name operator:NAME:TOKEN"
            )
        name, named, rest = token.partition(":")
        name, token = (name.strip(), rest) if named else (role.strip(), token)
        if _NAME.fullmatch(name) is None:
            raise ConfigError(f"{source}, line {number}: a token's name has 1 to 63 letters, digits and . _ @ -")
        if _FORM.fullmatch(token.strip()) is None:
            raise ConfigError(
                f"{source}, line {number}: a token has {LEAST_LENGTH} to 512 letters, digits and . _ ~ + / = -; "
                "make one with: openssl rand -hex 32"
            )
        found.append((Access(role.strip()), token.strip(), name))
    if not found:
        raise ConfigError(f"{source}: no token in it; write reader:TOKEN or operator:TOKEN, or unset it")
    return found


def check_binding(host: str, tokens: Tokens | None) -> None:
    """Raises ConfigError if the server would listen beyond loopback without tokens."""
    if tokens is None and not is_loopback(host):
        raise ConfigError(
            f"host {host!r} is reachable from other machines and there are no tokens: set {TOKENS_FILE} (or "
            f"{OPERATOR_TOKEN} and {READER_TOKEN}), or listen on 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Whether `host`, a name or an address without a port, means this machine only."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host[1:-1] if host.startswith("[") and host.endswith("]") else host).is_loopback
    except ValueError:
        return False


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
