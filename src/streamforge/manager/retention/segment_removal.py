"""The removal of segments of order books of whose time nothing is stored any more."""

from __future__ import annotations

import structlog

from streamforge.manager.coverage.store import CoverageStore
from streamforge.manager.engine.persistence.workflow_store import WorkflowStore
from streamforge.manager.workflows.live.model import passed_ms
from streamforge.manager.workflows.series.model import claimed_span, loaded_series
from streamforge_utils.model.books.segments import CONTENT, MANIFEST, segment_prefix
from streamforge_utils.model.coverage import stored_spans
from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.object_store import ObjectStore
from streamforge_utils.runtime.sink.stored_segments import StoredSegments

_log = structlog.get_logger(__name__)


class SegmentRemoval:
    """Removes segments once the coverage says what is left."""

    def __init__(self, objects: ObjectStore, coverage: CoverageStore, workflows: WorkflowStore) -> None:
        self._objects, self._coverage, self._workflows = objects, coverage, workflows

    async def remove(self, series: Series, span: TimeRange, *, into: tuple[ObjectStore, str] | None = None) -> None:
        """Remove the segments with diffs of `span`, but for those with diffs that the coverage calls stored, or that a
        live workflow may have yet to prove.

        One whose manifest cannot be read stays, and is told in the log. into: where each is copied to before it goes,
        and what the names of the copies begin with. Raises StreamForgeError.
        """
        kept, gone = stored_spans(await self._coverage.of(series)), list[str]()
        async for name, manifest in StoredSegments(self._objects, segment_prefix(series.symbol)).within(span):
            if isinstance(manifest, StreamForgeError):
                _log.warning("a segment stays, as its manifest cannot be read", name=name, error=str(manifest))
                continue
            whole = TimeRange(manifest.start_ms, manifest.end_ms)
            if not any(whole.intersection(one) for one in kept) and not self._is_open(series, whole):
                gone.append(name)
        for name in gone:
            if into is not None:
                for one in (content_of(name), name):
                    await into[0].put(f"{into[1]}/{one}", b"".join([block async for block in self._objects.get(one)]))
            await delete(self._objects, name)
            _log.info("a segment was removed", name=name)

    def _is_open(self, series: Series, span: TimeRange) -> bool:
        """Whether a live workflow has not proven all of `span` yet."""
        for stored in self._workflows.live.values():
            workflow = stored.workflow
            if (
                loaded_series(workflow) == series
                and claimed_span(workflow).intersection(span)
                and span.end_ms > passed_ms(workflow)
            ):
                return True
        return False


async def delete(objects: ObjectStore, name: str) -> None:
    """Remove the segment with the manifest of that name: without one its file counts for nothing."""
    await objects.delete([name])
    await objects.delete([content_of(name)])


def content_of(name: str) -> str:
    """The name of the file of a segment, by that of its manifest."""
    return name.removesuffix(MANIFEST) + CONTENT
