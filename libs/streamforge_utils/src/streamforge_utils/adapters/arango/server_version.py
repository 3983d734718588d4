"""What the server is: its version, which decides how documents are guarded against older ones."""

from __future__ import annotations

import re

import msgspec

from streamforge_utils.adapters.arango.arango_errors import ASKING_VERSION
from streamforge_utils.adapters.arango.arango_transport import Transport
from streamforge_utils.model.errors import ConfigError

OLDEST = (3, 11)
WITH_VERSION_ATTRIBUTE = (3, 12)
FIRST_ANSWER_S = 5.0
"""A worker asks twice: within 15 s it has ended, then, where a port takes connections and says nothing."""


class _Version(msgspec.Struct):
    server: str = ""
    version: str = ""
    license: str = ""


_decode = msgspec.json.Decoder(_Version).decode


class Server:
    """The server behind a transport; it is asked once."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._version: tuple[int, int] | None = None
        self.name = ""
        self.licence = ""

    async def version(self) -> tuple[int, int]:
        """Major and minor version. Raises ConfigError (too old, no ArangoDB, no access) or RetryableError."""
        if self._version is not None:
            return self._version
        # A client that cannot reach it at all hears so soon, and may have more patience.
        reply = await self._transport.ask(
            "GET", "/_api/version", what=ASKING_VERSION, attempts=2, answer_s=FIRST_ANSWER_S
        )
        where = self._transport.connection.shown
        try:
            found = _decode(reply.body)
        except msgspec.MsgspecError:
            found = _Version()
        match = re.match(r"(\d+)\.(\d+)", found.version)
        if found.server != "arango" or match is None:
            raise ConfigError(f"what answers at {where} is no ArangoDB: check host and port in ARANGO_URL")
        version = int(match[1]), int(match[2])
        if version < OLDEST:
            raise ConfigError(
                f"ArangoDB at {where} is of version {found.version[:30]}, which is too old: "
                f"StreamForge needs {OLDEST[0]}.{OLDEST[1]} or newer; upgrade it, or name another server in ARANGO_URL"
            )
        self.name, self.licence, self._version = found.version, found.license, version
        return version

    async def keeps_newer(self) -> bool:
        """Whether it compares versions by itself (`versionAttribute`)."""
        return await self.version() >= WITH_VERSION_ATTRIBUTE
