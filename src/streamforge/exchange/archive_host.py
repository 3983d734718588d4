"""The archive host: files of past days and months below /data/spot/, and their listing at /.

The files are made of the events that REST serves, when they are asked for.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from email.utils import formatdate
from typing import Self

from aiohttp import web

from streamforge.exchange.bucket_listing import (
    PARAMETERS,
    ListingError,
    error_xml,
    listing_xml,
    read_listing_request,
)
from streamforge.exchange.byte_ranges import Representation, Selected, select
from streamforge.exchange.endpoint import RowsEndpoint
from streamforge.exchange.made_files import MadeFiles
from streamforge.exchange.published_files import CHECKSUM, PublishedFile, PublishedFiles
from streamforge.exchange.state import ExchangeState
from streamforge.exchange.zip_writer import Member

_PART = 256 * 1024


class ArchiveHost:
    """Answers the requests for files and listings."""

    def __init__(self, state: ExchangeState) -> None:
        self._state = state
        rows = [endpoint for endpoint in state.endpoints if isinstance(endpoint, RowsEndpoint)]
        self._published = PublishedFiles(rows, state.symbols, state.name)
        self._made = MadeFiles(self._count_made)

    async def file(self, request: web.Request) -> web.StreamResponse:
        """GET or HEAD of a zip or of its checksum."""
        path = request.path.removeprefix("/")
        of_checksum = path.endswith(CHECKSUM)
        found = self._published.find(path.removesuffix(CHECKSUM), self._state.clock.now_ms())
        if found is None:
            return self._refused(error_xml("NoSuchKey", "The specified key does not exist.", path), 404)
        try:
            return await (self._checksum(request, found) if of_checksum else self._zip(request, found))
        except OSError as error:
            return self._refused(error_xml("InternalError", f"the file cannot be made: {error}", path), 500)

    async def listing(self, request: web.Request) -> web.Response:
        """GET of a page of the listing; 404 if nothing of a listing is asked for."""
        if not PARAMETERS & request.query.keys():
            self._state.count("other", "404")
            return web.Response(status=404)
        now_ms = self._state.clock.now_ms()
        try:
            asked = read_listing_request(request.query)
        except ListingError as error:
            return self._refused(error.body, error.status, "listing")
        body = await asyncio.to_thread(lambda: listing_xml(asked, self._published.listing(asked.asked, now_ms)))
        self._count("listing", 200, len(body))
        return web.Response(body=body, headers=self._headers("application/xml"))

    async def close(self) -> None:
        """Let go of the files."""
        await self._made.close()

    async def _checksum(self, request: web.Request, file: PublishedFile) -> web.StreamResponse:
        made = await self._made.get(file, _members)
        body = f"{made.sha256}  {file.name}\n".encode()
        found = Representation(len(body), file.checksum_etag, file.published_ms)
        chosen = select(request.headers, found)
        self._count("checksum", chosen.status, chosen.end - chosen.start)
        headers = self._described("binary/octet-stream", found, chosen)
        return web.Response(status=chosen.status, body=body[chosen.start : chosen.end], headers=headers)

    async def _zip(self, request: web.Request, file: PublishedFile) -> web.StreamResponse:
        if request.method == "HEAD":
            return await self._send(request, file, Representation(file.size, file.etag, file.published_ms), None)
        made = await self._made.get(file, _members)
        with _Opened(made.opened()) as opened:
            return await self._send(request, file, Representation(made.size, file.etag, file.published_ms), opened)

    async def _send(
        self, request: web.Request, file: PublishedFile, found: Representation, content: _Opened | None
    ) -> web.StreamResponse:
        """Answer with a part of `content`; None: with headers alone."""
        chosen = select(request.headers, found)
        headers = self._described("application/zip", found, chosen)
        what = f"{'daily' if '/daily/' in file.path else 'monthly'} {file.endpoint.archive}"
        length = chosen.end - chosen.start
        if content is None or not length:
            self._count(what, chosen.status, 0)
            headers |= {"Content-Length": str(length)} if chosen.status in (200, 206) else {}
            return web.Response(status=chosen.status, headers=headers)
        response = web.StreamResponse(status=chosen.status, headers=headers)
        response.content_length = length
        sent = 0
        try:
            await response.prepare(request)
            for start in range(chosen.start, chosen.end, _PART):
                part = content.read(start, min(_PART, chosen.end - start))
                await response.write(part)
                sent += len(part)
        finally:
            self._count(what, chosen.status if sent == length else "closed", sent)
        return response

    def _described(self, kind: str, found: Representation, chosen: Selected) -> dict[str, str]:
        headers = self._headers(kind) | found.headers
        if chosen.status == 206:
            headers["Content-Range"] = f"bytes {chosen.start}-{chosen.end - 1}/{found.size}"
        elif chosen.status == 416:
            headers["Content-Range"] = f"bytes */{found.size}"
        return headers

    def _headers(self, kind: str) -> dict[str, str]:
        state = self._state
        return {
            "Content-Type": kind,
            "Server": "AmazonS3",
            "Date": formatdate(state.clock.now_ms() / 1000, usegmt=True),
            "X-StreamForge-Exchange": state.name,
        }

    def _refused(self, body: bytes, status: int, what: str = "file") -> web.Response:
        self._count(what, status, len(body))
        return web.Response(status=status, body=body, headers=self._headers("application/xml"))

    def _count_made(self) -> None:
        self._state.archive.made += 1

    def _count(self, what: str, status: int | str, sent: int) -> None:
        self._state.archive.add(what, str(status), sent)


class _Opened:
    """A file that is read at any place; as a context, it is closed at the end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def read(self, start: int, length: int) -> bytes:
        return os.pread(self._descriptor, length, start)


def _members(file: PublishedFile) -> Iterable[Member]:
    return [Member(file.name.removesuffix(".zip") + ".csv", file.lines())]


def routes(state: ExchangeState, app: web.Application) -> Iterable[web.RouteDef]:
    """The routes of the archive. Its files are let go of when `app` is cleaned up."""
    host = ArchiveHost(state)

    async def close(_: web.Application) -> None:
        await host.close()

    app.on_cleanup.append(close)
    return [
        web.get("/", host.listing),
        web.get("/data.binance.vision", host.listing),
        web.get("/data.binance.vision/", host.listing),
        web.get("/data/{path:.*}", host.file),
    ]
