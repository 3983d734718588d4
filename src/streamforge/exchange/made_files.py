"""The zips of the archive as they are made when they are asked for: off the event loop, in files without a name."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

import msgspec

from streamforge.exchange.published_files import PublishedFile
from streamforge.exchange.zip_writer import Member, Written, write_zip

LIMIT_BYTES = 512 * 1024 * 1024
"""Of all zips that are kept; one more may be read while it is sent."""
_PART = 256 * 1024
_AT_ONCE = 2
_LARGE = 1 << 30
"""Bytes of a zip from which on its CSV may have 4 GiB."""

Content = Callable[[PublishedFile], Iterable[Member]]


class MadeFile(msgspec.Struct):
    """A zip. file: without a name on the disk, or recorded. sha256: of the whole. members: where they are in it."""

    file: BinaryIO
    size: int
    sha256: str
    members: tuple[Written, ...]

    def opened(self) -> int:
        """A file descriptor of its own, which the caller closes; it can be read also after this file is removed."""
        return os.dup(self.file.fileno())


class MadeFiles:
    """Makes zips and keeps the last ones, up to `limit` bytes. counted: is called for each that was made."""

    def __init__(self, counted: Callable[[], None], limit: int = LIMIT_BYTES) -> None:
        self._counted, self._limit = counted, limit
        self._kept: OrderedDict[str, MadeFile] = OrderedDict()
        self._making: dict[str, asyncio.Future[None]] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._closed = False

    async def get(self, file: PublishedFile, content: Content) -> MadeFile:
        """The zip; made once for each entity tag, however many ask. Raises OSError: no room on the disk."""
        while (kept := self._kept.get(file.etag)) is None:
            making = self._making.get(file.etag)
            if making is None:
                self._pool = self._pool or ThreadPoolExecutor(_AT_ONCE, "archive")
                made = asyncio.get_running_loop().run_in_executor(self._pool, self._make, file, content)
                making = self._making[file.etag] = asyncio.ensure_future(self._keep(file.etag, made))
                # nobody may be there any more to whom it could be raised
                making.add_done_callback(lambda done: done.cancelled() or done.exception())
            await asyncio.shield(making)
        self._kept.move_to_end(file.etag)
        return kept

    async def close(self) -> None:
        """End what is being made, and let go of all files."""
        self._closed = True
        if self._making:
            await asyncio.wait(self._making.values())
        if self._pool is not None:
            self._pool.shutdown()
        while self._kept:
            self._kept.popitem()[1].file.close()

    async def _keep(self, etag: str, made: asyncio.Future[MadeFile]) -> None:
        try:
            found = await made
        finally:
            del self._making[etag]
        self._counted()
        self._kept[etag] = found
        while len(self._kept) > 1 and sum(one.size for one in self._kept.values()) > self._limit:
            self._kept.popitem(last=False)[1].file.close()

    def _make(self, file: PublishedFile, content: Content) -> MadeFile:
        if file.recorded is not None:
            return MadeFile(file.recorded.path.open("rb"), file.size, file.recorded.sha256, ())
        target = tempfile.TemporaryFile()  # noqa: SIM115 - kept
        try:
            members = [
                msgspec.structs.replace(one, blocks=self._parts(one.blocks), large=file.size > _LARGE)
                for one in content(file)
            ]
            written = write_zip(target, members, file.published_ms, length=file.size)
            size = target.tell()
            target.seek(0)
            return MadeFile(target, size, hashlib.file_digest(target, "sha256").hexdigest(), tuple(written))
        except BaseException:
            target.close()
            raise

    def _parts(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """The same bytes in larger parts."""
        held: list[bytes] = []
        size = 0
        for block in blocks:
            held.append(block)
            size += len(block)
            if size >= _PART:
                if self._closed:
                    raise OSError("the archive is closed")
                yield b"".join(held)
                held, size = [], 0
        yield b"".join(held)
