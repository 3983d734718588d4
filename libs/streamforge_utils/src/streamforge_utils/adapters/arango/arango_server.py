"""The server itself: its version, and how much room its licence leaves."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from streamforge_utils.adapters.arango.arango_errors import ASKING_VERSION, FORBIDDEN, NO_COLLECTION
from streamforge_utils.adapters.arango.arango_transport import Transport, path_of
from streamforge_utils.model.errors import ConfigError
from streamforge_utils.ports.store import Usage

OLDEST = (3, 11)
WITH_VERSION_ATTRIBUTE = (3, 12)
FIRST_ANSWER_S = 5.0
"""A worker asks twice: within 15 s it has ended, then, where a port takes connections and says nothing."""
COMMUNITY_BYTES: Final = 100 * 1024**3
"""What the Community Edition allows from 3.12.5 on: two days of warnings, two of reading only, then it ends."""
_LIMITED_SINCE: Final = (3, 12, 5)
_NEVER_S: Final = 5 * 365 * 86400
"""A server that is far from its limit gives ten years."""


class _Version(msgspec.Struct):
    server: str = ""
    version: str = ""
    license: str = ""

    @property
    def parts(self) -> tuple[int, ...]:
        return tuple(int(part) for part in re.findall(r"\d+", self.version)[:3])


class _Disk(msgspec.Struct):
    used: int = msgspec.field(name="bytesUsed", default=0)
    limit: int = msgspec.field(name="bytesLimit", default=0)
    reached: bool = msgspec.field(name="limitReached", default=False)
    read_only_in_s: float = msgspec.field(name="secondsUntilReadOnly", default=0)
    ends_in_s: float = msgspec.field(name="secondsUntilShutDown", default=0)


class _Licence(msgspec.Struct):
    disk: _Disk | None = msgspec.field(name="diskUsage", default=None)
    licence: str = msgspec.field(name="license", default="")


class _Indexes(msgspec.Struct):
    size: int


class _Figures(msgspec.Struct):
    documents_size: int = msgspec.field(name="documentsSize")
    indexes: _Indexes


class _Measured(msgspec.Struct):
    figures: _Figures


class _Named(msgspec.Struct):
    name: str


class _Listed(msgspec.Struct):
    result: list[_Named]


_decode_version = msgspec.json.Decoder(_Version).decode
_decode_licence = msgspec.json.Decoder(_Licence).decode
_decode_measured = msgspec.json.Decoder(_Measured).decode
_decode_listed = msgspec.json.Decoder(_Listed).decode


class Server:
    """The server behind a transport; it is asked for its version once."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._version: _Version | None = None

    async def check(self) -> _Version:
        """Raises ConfigError (too old, no ArangoDB, no access) or RetryableError."""
        if self._version is not None:
            return self._version
        # A client that cannot reach it at all learns so soon, and may have more patience.
        usual = self._transport.retries
        first = msgspec.structs.replace(usual, attempts=1, answer_s=min(FIRST_ANSWER_S, usual.answer_s))
        reply = await self._transport.ask("GET", "/_api/version", what=ASKING_VERSION, retries=first)
        where = self._transport.connection.shown
        try:
            found = _decode_version(reply.body)
        except msgspec.MsgspecError:
            found = _Version()
        if found.server != "arango" or len(found.parts) < 2:
            raise ConfigError(f"what answers at {where} is no ArangoDB: check host and port in ARANGO_URL")
        if found.parts[:2] < OLDEST:
            raise ConfigError(
                f"ArangoDB at {where} is of version {found.version[:30]}, which is too old: "
                f"StreamForge needs {OLDEST[0]}.{OLDEST[1]} or newer; upgrade it, or name another server in ARANGO_URL"
            )
        self._version = found
        return found

    async def keeps_newer(self) -> bool:
        """Whether it compares versions by itself (`versionAttribute`)."""
        return (await self.check()).parts[:2] >= WITH_VERSION_ATTRIBUTE

    async def usage(self) -> Usage:
        """What the server counts against its licence; where it says nothing of that, what our collections take."""
        version = await self.check()
        told = await self._licence()
        disk = told.disk
        if disk is None:
            recent = version.parts >= _LIMITED_SINCE
            limited = recent and version.license == "community"
            return Usage(
                used_bytes=await self._collections_bytes(),
                limit_bytes=COMMUNITY_BYTES if limited else None,
                # A server with a licence key tells of the key instead.
                limit_known=limited or not recent or bool(told.licence),
                whole=not limited,  # the limit is the server's, and the collections are those of one database
            )
        ends = disk.limit > 0 and disk.reached
        return Usage(
            used_bytes=disk.used,
            limit_bytes=disk.limit or None,
            read_only=ends and disk.read_only_in_s <= 0,
            read_only_in_s=disk.read_only_in_s if ends and disk.read_only_in_s < _NEVER_S else None,
            ends_in_s=disk.ends_in_s if ends and disk.ends_in_s < _NEVER_S else None,
        )

    async def _licence(self) -> _Licence:
        try:
            reply = await self._transport.ask(
                "GET", "/_admin/license", what="ask for its licence", answers=(0, 404, FORBIDDEN)
            )
        except ConfigError:  # it is for administrators
            return _Licence()
        return _Licence() if reply.status >= 300 else reply.read(_decode_licence)

    async def _collections_bytes(self) -> int:
        listed = await self._transport.ask("GET", "/_api/collection", what="list the collections")
        total = 0
        for named in listed.read(_decode_listed).result:
            path = f"{path_of(named.name)}/figures"
            reply = await self._transport.ask(
                "GET", path, what="measure a collection", answers=(NO_COLLECTION, FORBIDDEN)
            )
            if not reply.number:
                figures = reply.read(_decode_measured).figures
                total += figures.documents_size + figures.indexes.size
        return total
