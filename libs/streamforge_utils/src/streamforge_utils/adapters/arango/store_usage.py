"""How much room the data take, and how much the licence leaves."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from streamforge_utils.adapters.arango.arango_collections import path_of
from streamforge_utils.adapters.arango.arango_errors import FORBIDDEN, NO_COLLECTION
from streamforge_utils.adapters.arango.arango_transport import Transport
from streamforge_utils.adapters.arango.server_version import Server
from streamforge_utils.model.errors import ConfigError
from streamforge_utils.ports.store import Usage

COMMUNITY_BYTES: Final = 100 * 1024**3
"""What the Community Edition allows from 3.12.5 on: two days of warnings, two of reading only, then it ends."""
_LIMITED_SINCE: Final = (3, 12, 5)
_NEVER_S: Final = 5 * 365 * 86400
"""A server that is far from its limit gives ten years."""


class _Disk(msgspec.Struct):
    used: int = msgspec.field(name="bytesUsed", default=0)
    limit: int = msgspec.field(name="bytesLimit", default=0)
    reached: bool = msgspec.field(name="limitReached", default=False)
    read_only_in_s: float = msgspec.field(name="secondsUntilReadOnly", default=0)
    ends_in_s: float = msgspec.field(name="secondsUntilShutDown", default=0)


class _Licence(msgspec.Struct):
    disk: _Disk | None = msgspec.field(name="diskUsage", default=None)
    licence: str = msgspec.field(name="license", default="")


class _Indexes(msgspec.Struct, frozen=True):
    size: int = 0


class _Figures(msgspec.Struct, frozen=True):
    documents: int = msgspec.field(name="documentsSize", default=0)
    indexes: _Indexes = _Indexes()


class _About(msgspec.Struct):
    figures: _Figures = _Figures()


class _Named(msgspec.Struct):
    name: str = ""


class _Listed(msgspec.Struct):
    result: list[_Named]


_decode_licence = msgspec.json.Decoder(_Licence).decode
_decode_about = msgspec.json.Decoder(_About).decode
_decode_listed = msgspec.json.Decoder(_Listed).decode


async def usage(transport: Transport, server: Server) -> Usage:
    """What the server counts against its licence; where it says nothing of that, what our collections take."""
    await server.version()
    told = await _told(transport)
    disk = told.disk
    if disk is None:
        recent = _patch(server.name) >= _LIMITED_SINCE
        limited = recent and server.licence == "community"
        return Usage(
            used_bytes=await _collections(transport),
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


async def _told(transport: Transport) -> _Licence:
    try:
        reply = await transport.ask("GET", "/_admin/license", what="ask for its licence", answers=(0, 404, FORBIDDEN))
    except ConfigError:  # it is for administrators
        return _Licence()
    return _Licence() if reply.status >= 300 else reply.read(_decode_licence)


async def _collections(transport: Transport) -> int:
    listed = await transport.ask("GET", "/_api/collection", what="list the collections")
    total = 0
    for named in listed.read(_decode_listed).result:
        reply = await transport.ask(
            "GET", f"{path_of(named.name)}/figures", what="measure a collection", answers=(NO_COLLECTION, FORBIDDEN)
        )
        if not reply.number:
            figures = reply.read(_decode_about).figures
            total += figures.documents + figures.indexes.size
    return total


def _patch(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", name)[:3])
