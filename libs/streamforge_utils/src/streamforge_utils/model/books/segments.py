"""Segments: closed files of diffs in a store of objects, each with a manifest that says what is in it.

    depth/BTCUSDT/050093239208.jsonl.gz   diffs as they travelled, one a line, in the order of the topic
    depth/BTCUSDT/050093239208.json       its manifest, which is put behind it: without one it does not count

The name follows from the symbol and the first update: what is read again is put again under its name. A segment with
other diffs that begins with the same update, as a late one does, has a number behind it: `050093239208_1.json`.
"""

from __future__ import annotations

import hashlib
import itertools
import zlib
from collections.abc import Iterator

import msgspec

from streamforge_utils.model.books.records import ID_DIGITS, Depth
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.kind import key_symbol
from streamforge_utils.model.messages import DECODE_ERRORS, decoder

FOLDER = "depth/"
"""Of all segments in the store of objects."""
CONTENT, MANIFEST = ".jsonl.gz", ".json"
_LEVEL = 6
_GZIP = 16 + zlib.MAX_WBITS
_read_diff = msgspec.json.Decoder(Depth).decode


class SegmentManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a segment. sha256: of the file. bytes: of the lines. times: of its diffs, unix ms, half-open."""

    symbol: str
    sha256: str
    first_u: int
    last_u: int
    count: int
    bytes: int
    start_ms: int
    end_ms: int
    closed: bool = True


decode_manifest = decoder(SegmentManifest, "a manifest of a segment")
"""Reads a manifest. Raises PermanentError naming the field."""


def segment_prefix(symbol: str) -> str:
    """What the names of a symbol's segments begin with."""
    return f"{FOLDER}{key_symbol(symbol)}/"


def numbered(name: str) -> Iterator[str]:
    """The names a segment may have, without their ending, where another one has that which comes first."""
    return itertools.chain((name,), (f"{name}_{number}" for number in itertools.count(1)))


def first_id_of(name: str) -> int | None:
    """The first update of the segment whose manifest has this name; None: it is no manifest."""
    digits = name.rpartition("/")[2].removesuffix(MANIFEST).partition("_")[0]
    return int(digits) if name.endswith(MANIFEST) and digits.isascii() and digits.isdigit() else None


class OpenSegment:
    """Takes diffs until it is closed. bytes, count: of the lines so far."""

    def __init__(self, symbol: str) -> None:
        self._symbol = symbol
        self._packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
        self._packed: list[bytes] = []
        self.bytes = self.count = 0
        self._name_id = self._first = self._last = self._start_ms = self._end_ms = 0

    def add(self, value: bytes) -> None:
        """Take the message of a diff. Raises PermanentError if it is none."""
        try:
            diff = _read_diff(value)
        except DECODE_ERRORS as error:
            raise PermanentError(f"not a record of depth: {error}") from error
        first, last, time_ms = diff.first_update_id, diff.last_update_id, diff.event_time
        if not self.count:
            self._name_id, self._first, self._start_ms = first, first, time_ms
        self._first, self._last = min(self._first, first), max(self._last, last)
        self._start_ms, self._end_ms = min(self._start_ms, time_ms), max(self._end_ms, time_ms + 1)
        self._packed.append(self._packer.compress(value + b"\n"))
        self.bytes += len(value) + 1
        self.count += 1

    def close(self) -> tuple[str, bytes, SegmentManifest]:
        """The name without its ending, the file and the manifest."""
        content = b"".join((*self._packed, self._packer.flush()))
        manifest = SegmentManifest(
            symbol=self._symbol,
            sha256=hashlib.sha256(content).hexdigest(),
            first_u=self._first,
            last_u=self._last,
            count=self.count,
            bytes=self.bytes,
            start_ms=self._start_ms,
            end_ms=self._end_ms,
        )
        return f"{segment_prefix(self._symbol)}{self._name_id:0{ID_DIGITS}}", content, manifest


def lines_of(content: bytes, manifest: SegmentManifest) -> list[bytes]:
    """The diffs of a segment as they travelled. Raises PermanentError where it is not as its manifest says."""
    if hashlib.sha256(content).hexdigest() != manifest.sha256:
        raise PermanentError(
            f"a segment of {manifest.symbol} from update {manifest.first_u} on differs from its manifest: it is damaged"
        )
    try:
        return zlib.decompress(content, _GZIP).splitlines()
    except zlib.error as error:
        raise PermanentError(f"a segment of {manifest.symbol} cannot be read: {error}") from error
