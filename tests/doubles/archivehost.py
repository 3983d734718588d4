"""A host of archive files: listing, checksums, ranges; it breaks off, lies and fails when told to."""

from __future__ import annotations

import asyncio
import hashlib
import io
import zipfile
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from xml.sax.saxutils import escape

from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
PUBLISHED = datetime(2024, 9, 1, 3, 4, 5, tzinfo=UTC)


class ArchiveHost:
    """files: their content by path. published: when each was; PUBLISHED by default. page: keys of a listing's page.

    script: answers for a path instead of the real ones, in order. asked: how often each path was, `?` is the listing.
    ranges: every `Range` that was asked for.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.published: dict[str, datetime] = {}
        self.page = 1000
        self.script: dict[str, deque[Answer]] = {}
        self.asked: Counter[str] = Counter()
        self.ranges: list[str] = []
        self.url = ""

    def put(self, path: str, content: bytes, *, checksum: str | None = "") -> None:
        """Publish a zip with its checksum. checksum: another one than its own; None: none."""
        self.files[path] = content
        if checksum is None:
            self.files.pop(f"{path}.CHECKSUM", None)
        else:
            name = path.rpartition("/")[2]
            line = f"{checksum or hashlib.sha256(content).hexdigest()}  {name}"
            self.files[f"{path}.CHECKSUM"] = line.encode()

    def expect(self, path: str, *answers: Answer) -> None:
        self.script.setdefault(path, deque()).extend(answers)

    def tag(self, path: str) -> str:
        return f'"{hashlib.md5(self.files[path]).hexdigest()}"'

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path.lstrip("/")
        self.asked[path or "?"] += 1
        self.ranges += [request.headers["Range"]] if "Range" in request.headers else []
        if waiting := self.script.get(path or "?"):
            return await waiting.popleft()(request)
        if not path:
            return self._listing(request)
        if path not in self.files:
            return web.Response(status=404, text="NoSuchKey")
        return self.answer(request, self.files[path], self.tag(path))

    def answer(self, request: web.Request, content: bytes, tag: str) -> web.Response:
        headers = {"ETag": tag, "Content-Type": "application/zip"}
        wanted = request.headers.get("Range", "")
        if not wanted:
            return web.Response(body=content, headers=headers)
        if request.headers.get("If-Range", tag) != tag:
            return web.Response(body=content, headers=headers)
        start = int(wanted.removeprefix("bytes=").rstrip("-"))
        if start >= len(content):
            return web.Response(status=416)
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return web.Response(status=206, body=content[start:], headers=headers)

    def _listing(self, request: web.Request) -> web.Response:
        query = request.query
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("continuation-token") or query.get("start-after") or query.get("marker") or ""
        found: dict[str, str] = {}
        for key in sorted(self.files):
            if not key.startswith(prefix):
                continue
            rest = key.removeprefix(prefix)
            if delimiter and delimiter in rest:
                folder = prefix + rest[: rest.index(delimiter) + 1]
                found[folder] = f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>"
            else:
                when = self.published.get(key, PUBLISHED).strftime("%Y-%m-%dT%H:%M:%S.000Z")
                found[key] = (
                    f"<Contents><Key>{escape(key)}</Key><LastModified>{when}</LastModified>"
                    f"<ETag>{escape(self.tag(key))}</ETag><Size>{len(self.files[key])}</Size></Contents>"
                )
        names = [name for name in sorted(found) if name > after]
        shown, cut = names[: self.page], len(names) > self.page
        token = f"<NextContinuationToken>{escape(shown[-1])}</NextContinuationToken>" if cut else ""
        return web.Response(
            content_type="application/xml",
            text='<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<IsTruncated>{str(cut).lower()}</IsTruncated>{token}{''.join(found[name] for name in shown)}"
            "</ListBucketResult>",
        )


def breaks_off(
    host: ArchiveHost, path: str, folder: Path, after: int, *, reached: asyncio.Event | None = None
) -> Answer:
    """An answer that ends after so many bytes, once a download in `folder` has them.

    reached: is set then, and the connection is left open instead of cut.
    """

    async def answer(request: web.Request) -> web.StreamResponse:
        whole = host.answer(request, host.files[path], host.tag(path))
        assert isinstance(whole.body, bytes)
        response = web.StreamResponse(status=whole.status, headers=whole.headers)
        response.content_length = len(whole.body)
        await response.prepare(request)
        await response.write(whole.body[:after])
        size = len(host.files[path]) - len(whole.body) + after
        await _until(lambda: any(part.stat().st_size == size for part in folder.glob("*.part")))
        assert request.transport is not None
        if reached is None:
            request.transport.close()
        else:
            reached.set()
            await _until(request.transport.is_closing)
        return response

    return answer


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - the disk and the socket set no event
        await asyncio.sleep(0.001)


def status(code: int, **headers: str) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=code, headers=headers)

    return answer


def zipped(name: str, rows: bytes, *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip with one file: the same bytes for the same rows, whatever the time is."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        archive.writestr(zipfile.ZipInfo(name), rows, method)
    return target.getvalue()


@asynccontextmanager
async def archive_host() -> AsyncIterator[ArchiveHost]:
    """A host on a free port of this machine."""
    host = ArchiveHost()
    app = web.Application()
    app.router.add_route("GET", "/{path:.*}", host.handle)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield host
    finally:
        await runner.cleanup()
