"""Coverage in the state store: what is known of each series, whichever workflow stored it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from streamforge_utils.model.coverage import Segment, Verdict, overlay, without_records, without_stored
from streamforge_utils.model.errors import ConflictError
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.store import StateStore

KIND = "series"
_PAGE = 500


class _Known(msgspec.Struct, frozen=True, kw_only=True):
    format: int = 1
    series: Series
    segments: tuple[Segment, ...] = ()


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Known).decode


class Coverage:
    """The segments of every series, sorted and disjoint; what they do not mention is unknown."""

    def __init__(self, states: StateStore) -> None:
        self._states = states

    async def of(self, series: Series) -> Sequence[Segment]:
        """What is known of the series; empty if nothing is."""
        state = await self._states.get(KIND, series.id)
        return () if state is None else _decode(state.body).segments

    async def page(
        self, *, after: str | None = None, limit: int = _PAGE
    ) -> Sequence[tuple[str, Series, Sequence[Segment]]]:
        """What is known of each series, with the name that continues after it; at most `limit`.

        Raises InvalidInput for an `after` that is none, or RetryableError.
        """
        found = await self._states.find(KIND, after=after, limit=limit)
        read = [(state.id, _decode(state.body)) for state in found]
        return [(id_, known.series, known.segments) for id_, known in read]

    async def lay_over(self, series: Series, segments: Sequence[Segment]) -> None:
        """Add what has been learnt; where it speaks of the same time, it replaces what was known."""
        await self._change(series, lambda known: overlay(known, segments))

    async def learn(self, series: Series, segments: Sequence[Segment], collection: str | None = None) -> None:
        """As `lay_over`, but what other collections than `collection` hold stays stored, whatever was learnt of it."""
        await self._change(series, lambda known: overlay(known, without_stored(segments, known, collection)))

    async def forget(self, series: Series, collection: str, span: TimeRange) -> None:
        """Drop what says that records of `span` lie in `collection`: they are about to be removed."""
        await self._change(series, lambda known: without_records(known, collection, span))

    async def by_collection(self) -> Mapping[str, Sequence[tuple[Series, TimeRange]]]:
        """What lies in each collection: of which series, from when to when. Raises RetryableError."""
        found: dict[str, list[tuple[Series, TimeRange]]] = {}
        after: str | None = None
        while True:
            page = await self.page(after=after)
            for _, series, segments in page:
                for segment in segments:
                    if segment.verdict is Verdict.STORED and segment.collection is not None:
                        found.setdefault(segment.collection, []).append((series, segment.span))
            if len(page) < _PAGE:
                return found
            after = page[-1][0]

    async def _change(self, series: Series, change: Callable[[Sequence[Segment]], list[Segment]]) -> None:
        for _ in range(50):
            state = await self._states.get(KIND, series.id)
            known = () if state is None else _decode(state.body).segments
            body = _encode(_Known(series=series, segments=tuple(change(known))))
            if state is not None and state.body == body:
                return
            try:
                await self._states.put(
                    KIND, series.id, body, expected=None if state is None else state.revision, labels={}
                )
            except ConflictError:
                continue
            return
        raise ConflictError(f"coverage of {series.id} was changed by others 50 times in a row")
