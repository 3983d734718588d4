"""How the server is reached."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path
from urllib.parse import quote, urlsplit

import msgspec

from streamforge_utils.model.errors import ConfigError
from streamforge_utils.model.secret import Secret


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """The way to a database.

    url: of a server or a coordinator. user, password: None where the server asks for none. ca_path: a PEM file of the
    CAs that may have signed the server's certificate; None: those of the system.
    """

    url: str
    database: str
    user: str | None = None
    password: Secret | None = None
    ca_path: Path | None = None

    @property
    def shown(self) -> str:
        """The server as messages name it."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    @property
    def base(self) -> str:
        """What the paths of the API follow."""
        return f"{self.url.rstrip('/')}/_db/{quote(self.database, safe='')}"

    @property
    def encrypted(self) -> bool:
        """Whether TLS is spoken."""
        return self.url.lower().startswith("https:")

    def authorization(self) -> str | None:
        """The header that says who asks. Basic: a token would have to be renewed under way."""
        if self.user is None:
            return None
        password = "" if self.password is None else self.password.reveal()
        return "Basic " + base64.b64encode(f"{self.user}:{password}".encode()).decode()

    def tls(self) -> ssl.SSLContext | None:
        """How the server's certificate is checked; None without TLS. Raises ConfigError for a file of no use."""
        if not self.encrypted:
            return None
        try:
            return ssl.create_default_context(cafile=self.ca_path)
        except OSError as error:
            wrong = (
                "holds no PEM certificate" if isinstance(error, ssl.SSLError) else f"cannot be read ({error.strerror})"
            )
            raise ConfigError(
                f"STREAMFORGE_ARANGO_CA_PATH: the file {self.ca_path} {wrong}: "
                "name the PEM file of the CA that signed the server's certificate"
            ) from error
