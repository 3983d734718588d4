"""The archive host: files of past days and months below /data/spot/, and their listing at /.

The files are made of the events that REST serves, when they are asked for. A recorded zip is served as it is, unless a
fault is in it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterable
from email.utils import formatdate
from functools import partial
from typing import Self

import msgspec
from aiohttp import web

from streamforge.exchange.archive_faults import checksum_of, members_of, spoilt_listing
from streamforge.exchange.bucket_listing import PARAMETERS, ListingError, error_xml, read_listing_request, site_page
from streamforge.exchange.byte_ranges import Representation, Selected, select
from streamforge.exchange.endpoint import RowsEndpoint
from streamforge.exchange.fault_kind import Fault, Target
from streamforge.exchange.made_files import MadeFile, MadeFiles
from streamforge.exchange.published_files import CHECKSUM, PublishedFile, PublishedFiles
from streamforge.exchange.rest import Answer, Closed, html_page, send
from streamforge.exchange.state import ExchangeState

_PART = 256 * 1024
_VERSION_MS = 60_000
"""So much later than the one before a file was changed that replaced it."""


class ArchiveHost:
    """Answers the requests for files and listings."""

    def __init__(self, state: ExchangeState) -> None:
        self._state, self._faults = state, state.faults
        rows = [endpoint for endpoint in state.endpoints if isinstance(endpoint, RowsEndpoint)]
        self._published = PublishedFiles(rows, state.symbols, state.name, self._changed, state.zips)
        self._made = MadeFiles(self._count_made)
        self._versions: dict[str, int] = {}

    async def file(self, request: web.Request) -> web.StreamResponse:
        """GET or HEAD of a zip or of its checksum."""
        path = request.path.removeprefix("/")
        of_checksum = path.endswith(CHECKSUM)
        file = self._published.find(path.removesuffix(CHECKSUM), self._state.clock.now_ms())
        if file is None:
            return self._missing(path)
        target = Target("checksum" if of_checksum else "archive", file.spec.symbol, file.path)
        what = "checksum" if of_checksum else f"{file.path.split('/')[2]} {file.endpoint.archive}"
        try:
            fault = next(self._faults.strike("answer", target), None)
            if fault is not None:
                return await self._instead(fault, what)
            if request.method == "HEAD" and not of_checksum:
                described = Representation(file.size, file.etag, file.published_ms)
                chosen = select(request.headers, described)
                length = {"Content-Length": str(chosen.end - chosen.start)} if chosen.status in (200, 206) else {}
                headers = self._described("application/zip", described, chosen) | length
                return self._answered(what, Answer(chosen.status, b"", headers))
            held = self._faults.in_file(msgspec.structs.replace(target, path="archive"))
            try:
                made = await self._made.get(file, partial(members_of, faults=held))
            except OSError as error:
                body = error_xml("InternalError", f"the file cannot be made: {error}", path)
                return self._answered(what, self._xml(body, 500))
            if of_checksum:
                return await self._checksum(request, file, made, target)
            return await self._zip(request, file, made, target)
        except Closed:
            return self._cut(request, what)

    async def listing(self, request: web.Request) -> web.StreamResponse:
        """GET of a page of the listing; 404 if nothing of a listing is asked for."""
        if not PARAMETERS & request.query.keys():
            self._state.count("other", "404")
            return web.Response(status=404)
        now_ms = self._state.clock.now_ms()
        try:
            asked = read_listing_request(request.query)
        except ListingError as error:
            return self._answered("listing", self._xml(error.body, error.status))
        prefix = asked.asked.prefix
        target = Target("listing", (prefix.split("/") + [""] * 5)[4], prefix)
        try:
            fault = next(self._faults.strike("answer", target), None)
            if fault is not None:
                return await self._instead(fault, "listing")
            faults = list(self._faults.strike("listing", target))
            found = self._published.listing(asked.asked, now_ms)
            body = await asyncio.to_thread(spoilt_listing, asked, found, faults)
            if request.query.keys() == {"prefix"}:
                body = site_page(body, f"http://{request.host}")
            response = await send(request, self._xml(body, 200), self._faults.strike("body", target))
            self._count("listing", 200, len(body))
            return response
        except Closed:
            return self._cut(request, "listing")

    async def close(self) -> None:
        """Let go of the files."""
        await self._made.close()

    def _changed(self, file: PublishedFile, listed: bool) -> PublishedFile | None:
        """The file after the faults that are in it, and after those that replaced it."""
        held = self._faults.in_file(Target("archive", file.spec.symbol, file.path))
        for fault in held:
            if fault.name == "archive-missing" and not (listed and fault.number("listed")):
                return None
        texts = [fault.text for fault in held if fault.name != "archive-missing"]
        version = self._versions.get(file.path, 0)
        if not texts and not version:
            return file
        content = f"{file.etag} {version} {texts}".encode()
        return msgspec.structs.replace(
            file,
            etag=hashlib.md5(content, usedforsecurity=False).hexdigest() + "-1",
            published_ms=file.published_ms + version * _VERSION_MS,
        )

    async def _checksum(
        self, request: web.Request, file: PublishedFile, made: MadeFile, target: Target
    ) -> web.StreamResponse:
        line = checksum_of(made.sha256, file, self._faults.strike("checksum", target))
        if line is None:
            return self._missing(file.path + CHECKSUM)
        body = line.encode()
        found = Representation(len(body), file.checksum_etag, file.published_ms)
        chosen = select(request.headers, found)
        headers = self._described("binary/octet-stream", found, chosen)
        answer = Answer(chosen.status, body[chosen.start : chosen.end], headers)
        response = await send(request, answer, self._faults.strike("body", target))
        self._count("checksum", chosen.status, len(answer.body))
        return response

    async def _zip(
        self, request: web.Request, file: PublishedFile, made: MadeFile, target: Target
    ) -> web.StreamResponse:
        what = f"{file.path.split('/')[2]} {file.endpoint.archive}"
        harm = _Harm()
        for fault in (*self._faults.strike("body", target), *self._faults.strike("zip", target)):
            harm.add(fault, made)
        with _Opened(made.opened()) as content:
            await asyncio.sleep(harm.wait_s)
            if harm.held is not None:
                await harm.held.wait()
            size = made.size // 2 if harm.halved else made.size
            found = Representation(size, file.etag, file.published_ms)
            chosen = select(request.headers, found)
            headers = self._described("application/zip", found, chosen)
            length = chosen.end - chosen.start
            if not length:
                return self._answered(what, Answer(chosen.status, b"", headers))
            response = web.StreamResponse(status=chosen.status, headers=headers)
            response.content_length, sent = length, 0
            end = chosen.start + length // 2 if harm.cut else chosen.end
            try:
                await response.prepare(request)
                for start in range(chosen.start, end, harm.piece):
                    part = harm.spoilt(content.read(start, min(harm.piece, end - start)), start)
                    await response.write(part)
                    sent += len(part)
                    if harm.pause_s:
                        await asyncio.sleep(harm.pause_s)
            finally:
                self._state.archive.bytes += sent
                if harm.replaces:
                    self._versions[file.path] = self._versions.get(file.path, 0) + 1
                if sent == length:
                    self._count(what, chosen.status, 0)
                elif not harm.cut:
                    self._count(what, "closed", 0)  # by the client
            if harm.cut:
                raise Closed
            return response

    async def _instead(self, fault: Fault, what: str) -> web.Response:
        """The answer of a fault of the stage `answer`. Raises Closed."""
        if fault.name == "stall":
            await asyncio.sleep(fault.number("seconds"))
            raise Closed
        answer = html_page(fault)
        return self._answered(what, Answer(answer.status, answer.body, self._headers("text/html")))

    def _cut(self, request: web.Request, what: str) -> web.Response:
        """End the connection without the rest of the answer."""
        self._count(what, "closed", 0)
        if request.transport is not None:
            request.transport.close()
        return web.Response()  # it can no longer be sent

    def _missing(self, path: str) -> web.Response:
        body = error_xml("NoSuchKey", "The specified key does not exist.", path)
        return self._answered("missing", self._xml(body, 404))

    def _xml(self, body: bytes, status: int) -> Answer:
        return Answer(status, body, self._headers("application/xml"))

    def _answered(self, what: str, answer: Answer) -> web.Response:
        self._count(what, answer.status, len(answer.body))
        return web.Response(status=answer.status, body=answer.body or None, headers=answer.headers)

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

    def _count_made(self) -> None:
        self._state.archive.made += 1

    def _count(self, what: str, status: int | str, sent: int) -> None:
        self._state.archive.add(what, str(status), sent)


class _Harm(msgspec.Struct):
    """What faults do to the bytes of a zip as they are sent. piece: sent at once. flipped: where a byte is another."""

    wait_s: float = 0.0
    held: asyncio.Event | None = None
    pause_s: float = 0.0
    piece: int = _PART
    halved: bool = False
    cut: bool = False
    replaces: bool = False
    flipped: int = -1

    def add(self, fault: Fault, made: MadeFile) -> None:
        """Do what a fault of the stages `body` and `zip` does, too."""
        match fault.name:
            case "slow":
                self.wait_s += fault.number("ms") / 1000
            case "held":
                self.held = fault.over
            case "drip":
                self.piece, self.pause_s = max(int(fault.number("bytes")), 1), fault.number("ms") / 1000
            case "truncated":
                self.halved = True
            case "cut":
                self.cut = True
            case "archive-replaced":
                self.replaces = True
            case "archive-corrupt":
                self.flipped = made.members[0].begin + made.members[0].length // 2 if made.members else 0

    def spoilt(self, part: bytes, start: int) -> bytes:
        """The bytes from `start` on, as they are sent."""
        place = self.flipped - start
        if not 0 <= place < len(part):
            return part
        return part[:place] + bytes([part[place] ^ 0xFF]) + part[place + 1 :]


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
