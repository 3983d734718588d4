"""Records that wait on disk, where they do not fit into memory: first in, first out."""

from __future__ import annotations

import tempfile
from collections import deque
from pathlib import Path
from typing import IO

import msgspec

from streamforge_utils.model.kinds.paging import Page
from streamforge_utils.runtime.live.id_order import Records

SEGMENTS = 8
"""Files, about; each is removed once it is read."""
_LENGTH_BYTES = 4
_Columns = tuple[list[int], list[int], list[bytes], list[bytes]]
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Columns).decode


class _Segment:
    """A file without a name: nothing is left of it, also if this process is killed. unread: of its bytes."""

    def __init__(self, folder: Path) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed by `close`)
        self.size = 0
        self._read_to = 0

    @property
    def unread(self) -> int:
        return self.size - self._read_to

    def append(self, text: bytes) -> None:
        self._file.seek(self.size)
        self._file.write(text)
        self._file.flush()
        self.size += len(text)

    def next(self) -> bytes:
        self._file.seek(self._read_to)
        length = int.from_bytes(self._file.read(_LENGTH_BYTES), "big")
        self._read_to += _LENGTH_BYTES + length
        return self._file.read(length)

    def close(self) -> None:
        self._file.close()


class Spill:
    """Takes batches of records until its files hold `limit_bytes`, and gives them back in their order.

    It works in the calling thread: what is written stays in the system's memory at first.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit = limit_bytes
        self._segments: deque[_Segment] = deque()

    @property
    def bytes(self) -> int:
        """What is still to be given back."""
        return sum(segment.unread for segment in self._segments)

    def put(self, records: Records) -> bool:
        """Keep records; False: there is no room, or the disk takes no more, and nothing was kept."""
        columns = [*records.positions], [*records.times], [*records.keys], [*records.values]
        text = _encode(columns)
        size = _LENGTH_BYTES + len(text)
        if sum(segment.size for segment in self._segments) + size > self._limit:
            return False
        try:
            if not self._segments or self._segments[-1].size + size > self._limit // SEGMENTS:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._segments.append(_Segment(self._folder))
            self._segments[-1].append(len(text).to_bytes(_LENGTH_BYTES, "big") + text)
        except OSError:
            return False
        return True

    def get(self) -> Page | None:
        """The batch that has waited longest; None: there is none. Raises OSError."""
        while self._segments and not self._segments[0].unread:
            self._segments.popleft().close()
        return Page(*_decode(self._segments[0].next())) if self._segments else None

    def close(self) -> None:
        """Remove the files."""
        while self._segments:
            self._segments.popleft().close()
