"""The ledger of order books as it is stored, and the diffs of which it tells."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

import msgspec

from streamforge_utils.model.books.ledger_ending import ended
from streamforge_utils.model.books.records import CHECKPOINT, ID_DIGITS, INTERVAL, TOP, StoredDepthInterval, interval_of
from streamforge_utils.model.books.segments import (
    CONTENT,
    MANIFEST,
    decode_manifest,
    first_id_of,
    lines_of,
    segment_prefix,
)
from streamforge_utils.model.books.trust import BookInterval, Trust
from streamforge_utils.model.completeness.continuity import Unbroken
from streamforge_utils.model.completeness.interval_survey import Link
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.intervals import Intervals
from streamforge_utils.model.messages import DECODE_ERRORS, decoder
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange

UNBACKED = "no whole book of it is stored"


class _Ids(msgspec.Struct, frozen=True, gc=False):
    """Of a diff, as it travels or is stored, what says where it belongs."""

    first_update_id: int
    last_update_id: int
    event_time: int


_read_entry = decoder(StoredDepthInterval, "an entry of the ledger")
_read_ids = msgspec.json.Decoder(_Ids).decode


class BookIntervals(Intervals):
    """Those of order books. Where a book is verified, its whole and its best levels are stored now and then."""

    kind = INTERVAL
    beside = (INTERVAL, CHECKPOINT, TOP)

    def interval(self, body: bytes) -> BookInterval:
        return interval_of(_read_entry(body))

    def backing(self, interval: Unbroken) -> Sequence[tuple[str, range]]:
        return (
            (CHECKPOINT, range(interval.first_id, interval.last_id + 1)),
            (TOP, range(interval.start_ms, interval.end_ms)),
        )

    def unbacked(self, interval: Unbroken) -> Unbroken:
        return msgspec.structs.replace(interval, trust=Trust.UNVERIFIABLE, why=UNBACKED)

    def ended(self, last: Unbroken | None, links: Sequence[Link]) -> Sequence[Unbroken]:
        return ended(last if isinstance(last, BookInterval) else None, links)

    def link(self, body: bytes) -> Link:
        return _link(body)

    def prefix(self, series: Series, first_id: int, last_id: int) -> str:
        first, last = f"{first_id:0{ID_DIGITS}}", f"{last_id:0{ID_DIGITS}}"
        alike = [*takewhile(lambda at: first[at] == last[at], range(ID_DIGITS))]
        return segment_prefix(series.symbol) + first[: len(alike)]

    def first_id(self, name: str) -> int | None:
        return first_id_of(name)

    def last_id(self, manifest: bytes) -> int:
        return decode_manifest(manifest).last_u

    def span(self, manifest: bytes) -> TimeRange:
        found = decode_manifest(manifest)
        return TimeRange(found.start_ms, found.end_ms)

    def content(self, name: str) -> str:
        return name.removesuffix(MANIFEST) + CONTENT

    def links(self, content: bytes, manifest: bytes) -> list[Link]:
        return [*map(_link, lines_of(content, decode_manifest(manifest)))]


def _link(body: bytes) -> Link:
    try:
        ids = _read_ids(body)
    except DECODE_ERRORS as error:
        raise PermanentError(f"not a record of depth: {error}") from error
    return Link(ids.first_update_id, ids.last_update_id, ids.event_time)
