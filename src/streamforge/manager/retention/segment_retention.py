"""Removes segments of order books that were kept long enough, and files that lack their manifest.

What goes is struck from the coverage first, then its manifest goes, then its file: whoever dies in between has called
nothing stored that is gone, and the rest is removed the next time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial

import structlog

from streamforge.manager.dependencies import Dependencies
from streamforge.manager.retention.maintenance import each_alone, tried_again_later
from streamforge.manager.retention.segment_removal import delete
from streamforge_utils.model.books.segments import CONTENT, MANIFEST, SegmentManifest
from streamforge_utils.model.coverage import Verdict, touching
from streamforge_utils.model.errors import PermanentError, StreamForgeError
from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.model.kinds.registry import kind_of, kinds_in_segments
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.object_store import DamagedObject, ObjectStore
from streamforge_utils.runtime.sink.stored_segments import StoredSegments

LOOK_EVERY_S = 3600.0
ORPHANS_EVERY_S = 86400.0
"""Also how old a file without a manifest must be: a sink puts the manifest behind it."""
_KEYS_AT_ONCE = 2000
_log = structlog.get_logger(__name__)


class SegmentRetention:
    """Called often; looks every hour for what is too old, and every day for files that a killed sink has left."""

    def __init__(self, deps: Dependencies) -> None:
        self._deps = deps
        self._looked_at = self._tidied_at = float("-inf")
        self._reading = asyncio.Lock()
        """Of one segment at a time: it is in memory whole."""

    async def apply(self) -> None:
        """Remove what is to go, if it is time to look. Raises RetryableError."""
        objects, observer, now = self._deps.objects, self._deps.observer, self._deps.clock.monotonic()
        if objects is None:
            return
        if self._deps.policy.segment_days is not None and now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            before_ms = self._deps.clock.now_ms() - self._deps.policy.segment_days * 86_400_000
            for kind in kinds_in_segments():
                with tried_again_later(observer, "Age", folder=kind.segments):
                    folders = [one async for one in _folders(objects, kind.segments)]
                    work = {one: partial(self._remove_old, kind, objects, one, before_ms) for one in folders}
                    await each_alone(observer, "Age", "folder", work)
        if now - self._tidied_at >= ORPHANS_EVERY_S:
            self._tidied_at = now
            before_ms = self._deps.clock.now_ms() - int(ORPHANS_EVERY_S * 1000)
            for kind in kinds_in_segments():
                with tried_again_later(observer, "Tidy", folder=kind.segments):
                    await _remove_orphans(objects, kind.segments, before_ms)

    async def _remove_old(self, kind: RecordKind, objects: ObjectStore, folder: str, before_ms: int) -> None:
        """Remove the segments of a symbol, oldest first, up to the first one with a diff of `before_ms` or later.

        One whose manifest cannot be read stays. What collections have of its time, too, stays `stored`.
        """
        segments = StoredSegments(objects, folder)
        old: list[tuple[str, SegmentManifest]] = []
        ends: list[int] = []
        async for name, manifest in segments.manifests():
            if isinstance(manifest, StreamForgeError):
                self._tell(name, manifest)
                continue
            if old and manifest.first_u <= old[-1][1].last_u + 1:  # nothing happened between the two
                ends[-1] = max(ends[-1], manifest.start_ms)
            if manifest.end_ms > before_ms:
                break
            old.append((name, manifest))
            ends.append(manifest.end_ms)
        for (name, manifest), end_ms in zip(old, ends, strict=True):
            series, span = Series(manifest.symbol, kind.name), TimeRange(manifest.start_ms, end_ms)
            if not await self._is_in_collections(segments, series, name, manifest):
                await self._deps.coverage.expire(series, span, manifest.last_u)
            await delete(objects, name)
            self._deps.observer.count("retention_segments_total")
            _log.info("an old segment was removed", name=name, diffs=manifest.count)

    def _tell(self, name: str, error: StreamForgeError) -> None:
        with tried_again_later(self._deps.observer, "Age", name=name):
            raise error

    async def _is_in_collections(
        self, segments: StoredSegments, series: Series, name: str, manifest: SegmentManifest
    ) -> bool:
        """Whether all records of a segment lie in the collections that the coverage names for its time, too."""
        store = self._deps.store
        known = touching(await self._deps.coverage.of(series), TimeRange(manifest.start_ms, manifest.end_ms))
        first, last = kind_of(series).key_range(series, range(manifest.first_u, manifest.last_u + 1))
        named = sorted({one.collection for one in known if one.verdict is Verdict.STORED and one.collection})
        named = [one for one in named if await store.keys(one, first=first, last=last, limit=1)]
        async with self._reading:
            keys = await _keys(segments, series, name) if named else []
        for at in range(0, len(keys), _KEYS_AT_ONCE):
            left = {*keys[at : at + _KEYS_AT_ONCE]}
            for one in named:
                left -= await store.present(one, sorted(left))
            if left:
                return False
        return bool(keys)


async def _folders(objects: ObjectStore, whole: str) -> AsyncIterator[str]:
    """The folders of the symbols in the folder of a kind; all end with `/`."""
    after = whole
    while True:
        async for one in objects.list(whole, after=after):
            name = one.name
            break
        else:
            return
        folder = name.rpartition("/")[0] + "/"
        if folder == whole:  # no sink of ours wrote it
            after = name
            continue
        yield folder
        after = folder[:-1] + "0"  # the character behind "/"


async def _remove_orphans(objects: ObjectStore, whole: str, before_ms: int) -> None:
    """Remove old files, in the folder of a kind, whose manifest is not there."""
    manifest = ""
    orphans: list[str] = []
    async for one in objects.list(whole):  # a manifest is listed before its file
        if one.name.endswith(CONTENT):
            if one.name.removesuffix(CONTENT) + MANIFEST != manifest and one.modified_ms < before_ms:
                orphans.append(one.name)
        elif one.name.endswith(MANIFEST):
            manifest = one.name
    for name in orphans:
        if await objects.head(name.removesuffix(CONTENT) + MANIFEST) is None:
            await objects.delete([name])
            _log.info("a segment that was never closed was removed", name=name)


async def _keys(segments: StoredSegments, series: Series, name: str) -> Sequence[str]:
    """The keys of the records in a segment; none where it cannot be read."""
    kind = kind_of(series)
    try:
        segment = await segments.read(name)
        lines = () if segment is None else segment.lines()
        return await asyncio.to_thread(lambda: [kind.document(None, line)[0] for line in lines])
    except (PermanentError, DamagedObject):
        return []
