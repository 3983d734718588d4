"""Reads the segments of a symbol: each whole, as its manifest says, or not at all."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import zlib
from collections.abc import AsyncIterator, Iterator
from operator import ne

import msgspec

from streamforge_utils.model.books.book_messages import DepthDiff
from streamforge_utils.model.books.records import ID_DIGITS, Depth, diff_of
from streamforge_utils.model.books.segments import CONTENT, MANIFEST, SegmentManifest, decode_manifest, first_id_of
from streamforge_utils.model.errors import DamagedFile, PermanentError, StreamForgeError
from streamforge_utils.model.messages import DECODE_ERRORS
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.object_store import DamagedObject, NoObject, ObjectStore
from streamforge_utils.runtime.sink.id_search import MOST, last_before, last_that

_LATE = 4
"""So many segments before an update are looked at: a late diff lies behind others."""
_TRIES = 3
_read_diff = msgspec.json.Decoder(Depth).decode


def _differ(stored: StoredSegment, content: bytes) -> bool:
    """Whether a line of two segments differs, of those that both have. Raises DamagedSegment."""
    if hashlib.sha256(content).hexdigest() == stored.manifest.sha256:
        return False
    with gzip.open(io.BytesIO(content)) as lines:
        return any(map(ne, stored.lines(), lines))


class DamagedSegment(DamagedFile, PermanentError):
    """A segment is not as its manifest says; the message names it."""


class StoredSegment(msgspec.Struct, frozen=True):
    """A segment that was read. name: of its manifest."""

    name: str
    manifest: SegmentManifest
    content: bytes

    def lines(self) -> Iterator[bytes]:
        """Its messages, one after the other, in the order of the topic.

        Raises DamagedSegment; before the first message where the checksum differs.
        """
        if hashlib.sha256(self.content).hexdigest() != self.manifest.sha256:
            raise self._damaged("it differs from the checksum in its manifest")
        count = 0
        try:
            with gzip.open(io.BytesIO(self.content)) as lines:
                for line in lines:
                    count += 1
                    yield line
        except (OSError, EOFError, zlib.error) as error:
            raise self._damaged(f"it cannot be unpacked: {error}") from error
        if count != self.manifest.count:
            raise self._damaged(f"it has {count} diffs, its manifest says {self.manifest.count}")

    def diffs(self, behind_id: int = 0) -> Iterator[DepthDiff]:
        """Its diffs that go beyond an update, in the order of the topic. Raises DamagedSegment."""
        for line in self.lines():
            try:
                diff = _read_diff(line)
            except DECODE_ERRORS as error:
                raise self._damaged(f"a line of it is no diff: {error}") from error
            if diff.last_update_id > behind_id:
                yield diff_of(diff)

    def _damaged(self, what: str) -> DamagedSegment:
        return DamagedSegment(
            f"the segment {self.name} of {self.manifest.symbol} is damaged: {what}; put a copy of it back, or remove "
            "it with its manifest: the books of its time are not known then"
        )


class StoredSegments:
    """Every call raises DamagedSegment, or RetryableError (an object is damaged, or the store does not answer)."""

    def __init__(self, objects: ObjectStore, prefix: str) -> None:
        """prefix: of their names, as `segment_prefix` gives it."""
        self._objects, self._prefix = objects, prefix

    async def names(self, first_id: int = 0) -> AsyncIterator[str]:
        """The names of the manifests whose first update is this one or a later one, in that order."""
        async for one in self._objects.list(self._prefix, after=f"{self._prefix}{first_id:0{ID_DIGITS}}"):
            if first_id_of(one.name) is not None:
                yield one.name

    async def manifests(self, first_id: int = 0) -> AsyncIterator[tuple[str, SegmentManifest | StreamForgeError]]:
        """As `names`, each with what the manifest says, or with what is wrong with it. Raises RetryableError."""
        async for name in self.names(first_id):
            try:
                manifest = await self.manifest(name)
            except (DamagedSegment, DamagedObject) as error:
                yield name, error
                continue
            if manifest is not None:
                yield name, manifest

    async def within(self, span: TimeRange) -> AsyncIterator[tuple[str, SegmentManifest | StreamForgeError]]:
        """As `manifests`, of the segments with diffs of a time; also those between them that cannot be read."""
        async for name, manifest in self.manifests(await self._begin_behind(await self._last_before(span.start_ms))):
            if isinstance(manifest, SegmentManifest):
                if manifest.start_ms >= span.end_ms:
                    return
                if manifest.end_ms <= span.start_ms:
                    continue
            yield name, manifest

    async def _begin_behind(self, update_id: int) -> int:
        """Where to begin with what has updates behind this one."""

        async def ids(first_id: int) -> list[int]:
            found: list[int] = []
            async for name in self.names(first_id):
                if (one := first_id_of(name) or 0) > update_id or len(found) >= MOST:
                    break
                if one not in found[-1:]:  # two segments may begin with the same update
                    found.append(one)
            return found

        return min(await last_before(ids, update_id + 1, _LATE + 1), default=update_id + 1)

    async def _last_before(self, time_ms: int) -> int:
        """The update before the last segment that begins at a moment or before it."""

        async def first(first_id: int) -> tuple[int, SegmentManifest] | None:
            async for name, manifest in self.manifests(first_id):
                if isinstance(manifest, SegmentManifest):
                    return first_id_of(name) or 0, manifest
            return None

        last = await last_that(first, lambda one: one.start_ms <= time_ms)
        return 0 if last is None else last.first_u - 1

    async def behind(self, update_id: int, start_ms: int = 0) -> AsyncIterator[StoredSegment]:
        """The segments that have updates behind this one, at a moment or behind it, by their first updates.

        One within another that began after it comes before that: the first diff of that one reaches back.
        """
        last: tuple[str, SegmentManifest] | None = None
        damaged: StreamForgeError | None = None
        async for name, manifest in self.manifests(await self._begin_behind(update_id)):
            if isinstance(manifest, StreamForgeError):
                damaged = manifest
                break
            if manifest.last_u <= update_id or manifest.end_ms <= start_ms:
                continue
            ready, last = last, (name, manifest)
            if ready is not None and manifest.last_u < ready[1].last_u and manifest.start_ms < ready[1].start_ms:
                ready, last = last, ready
            if ready is not None and (segment := await self.read(ready[0])) is not None:
                yield segment
        if last is not None and (segment := await self.read(last[0])) is not None:
            yield segment
        if damaged is not None:
            raise damaged

    async def since(self, start_ms: int) -> AsyncIterator[StoredSegment]:
        """The segments with diffs at a moment or behind it, by their first updates."""
        async for segment in self.behind(await self._last_before(start_ms), start_ms):
            yield segment

    async def manifest(self, name: str) -> SegmentManifest | None:
        """The manifest of that name; None: it is not there any more."""
        content = await self._content(name)
        try:
            return None if content is None else decode_manifest(content)
        except PermanentError as error:
            raise DamagedSegment(
                f"the manifest {name} of a segment is damaged: {error}; put a copy of it back"
            ) from error

    async def read(self, name: str) -> StoredSegment | None:
        """The segment whose manifest has that name; None: it is not there any more.

        The checksum is compared when its lines are read.
        """
        for _ in range(_TRIES):
            manifest = await self.manifest(name)
            if manifest is None:
                return None
            content = await self._content(name.removesuffix(MANIFEST) + CONTENT)
            if await self.manifest(name) != manifest:
                continue  # a sink that reads its topic again puts the segment once more
            if content is None:
                raise DamagedSegment(
                    f"the segment {name} lacks its file: put a copy of it back, or remove its manifest"
                )
            return StoredSegment(name, manifest, content)
        raise DamagedSegment(f"the segment {name} is put again and again: is more than one sink at work?")

    async def holds_other(self, name: str, content: bytes) -> bool:
        """Whether there is a segment of other diffs than `content`, the file of a new one, under a manifest's name.

        Where one of the two goes on behind the end of the other, they are the same, read again and closed elsewhere. Of
        one that is damaged nothing is known: it counts as another one. Raises RetryableError.
        """
        try:
            stored = await self.read(name)
            return stored is not None and await asyncio.to_thread(_differ, stored, content)
        except (DamagedSegment, DamagedObject):
            return True

    async def _content(self, name: str) -> bytes | None:
        try:
            return b"".join([block async for block in self._objects.get(name)])
        except NoObject:
            return None
