"""The one CSV file in a zip of the archive, unpacked a block at a time.

The central directory is read by `zipfile`, after a look at its size; the data are inflated by `isal`, three times as
fast as by zlib, which takes its place where it is absent.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable, Iterator
from typing import IO, Any

from streamforge_utils.model.kinds.paging import MalformedPage
from streamforge_utils.ports.archive import FileRefused

try:
    from isal import isal_zlib

    zlib: Any = isal_zlib
except ImportError:  # pragma: no cover - a platform without it
    import zlib as slower

    zlib = slower

BLOCK = 256 * 1024
LARGEST_FILE = 64 * 1024**3
"""Bytes of an unpacked file, at most; the largest month of trades has a quarter."""

LARGEST_RATIO = 100
"""How many times its packed size an unpacked file may have; texts of numbers have 5 to 20."""

_SMALL = 1024 * 1024
"""So many bytes may be packed in any ratio."""

_LARGEST_DIRECTORY = 64 * 1024
_LONGEST_ROW = 64 * 1024
_END, _END64_PLACE, _END64 = b"PK\x05\x06", b"PK\x06\x07", b"PK\x06\x06"
_LOCAL = struct.Struct("<4s2B4HL2L2H")
_RAW_DEFLATE = -15
_ENCRYPTED = 0x1


class ZipMember:
    """The file `name` in a zip. Raises FileRefused if that is not all that there is, or can be no file of rows.

    file: is read from, and left open. check_header: is given a header row; raises MalformedPage.
    """

    def __init__(self, file: IO[bytes], name: str, check_header: Callable[[bytes], None] | None = None) -> None:
        self._file = file
        self._check_header = check_header
        try:
            _check_directory(file)
            with zipfile.ZipFile(file) as archive:
                self._info = _only_member(archive, name)
            self._start = self._find_data(name.encode())
        except (zipfile.BadZipFile, OSError, EOFError, ValueError, struct.error, NotImplementedError) as error:
            raise FileRefused(f"it is no zip that can be read: {error}") from error

    @property
    def size(self) -> int:
        """Bytes, unpacked."""
        return self._info.file_size

    def blocks(self, size: int = BLOCK) -> Iterator[bytes]:
        """Whole rows, about `size` bytes at a time, without a header row. Raises FileRefused.

        The last rows are given before the whole is known to have the right size and check sum (CRC).
        """
        rest, first = b"", True
        for part in self._parts(size):
            text = rest + part
            end = text.rfind(b"\n") + 1
            rest = text[end:]
            if len(rest) > _LONGEST_ROW:
                raise FileRefused(f"it has a row of more than {_LONGEST_ROW} bytes: {rest[:80]!r}")
            if end:
                yield from self._rows(text[:end], first)
                first = False
        if rest:
            yield from self._rows(rest + b"\n", first)

    def _rows(self, rows: bytes, first: bool) -> Iterator[bytes]:
        """The rows, without the header that the first of them may be."""
        if first and rows[:1].isalpha():
            header, _, rows = rows.partition(b"\n")
            try:
                if self._check_header is not None:
                    self._check_header(header)
            except MalformedPage as error:
                raise FileRefused(str(error)) from error
        if rows:
            yield rows

    def _parts(self, size: int) -> Iterator[bytes]:
        left, unpacked, crc = self._info.compress_size, 0, 0
        stored = self._info.compress_type == zipfile.ZIP_STORED
        inflater: Any = None if stored else zlib.decompressobj(_RAW_DEFLATE)
        self._file.seek(self._start)
        packed = b""
        while True:
            if not packed and left:
                packed = self._file.read(min(BLOCK, left))
                left -= len(packed)
                if not packed:
                    raise FileRefused("it ends in the middle of its data")
            if stored:
                part, packed, over = packed[:size], packed[size:], not left and len(packed) <= size
            else:
                part, packed, over = self._inflated(inflater, packed, size)
            unpacked += len(part)
            crc = zlib.crc32(part, crc)
            if unpacked > self._info.file_size:
                raise FileRefused(f"it holds more than the {self._info.file_size} bytes that it declares")
            if part:
                yield part
            if over:
                break
            if not part and not packed and not left:
                raise FileRefused("its data end too early")
        if left or packed or unpacked != self._info.file_size:
            raise FileRefused(f"it holds {unpacked} bytes and declares {self._info.file_size}")
        if crc != self._info.CRC:
            raise FileRefused(f"its check sum (CRC) is {crc:08x} and should be {self._info.CRC:08x}")

    def _inflated(self, inflater: Any, packed: bytes, size: int) -> tuple[bytes, bytes, bool]:
        try:
            part = inflater.decompress(packed, size)
        except zlib.error as error:
            raise FileRefused(f"its data cannot be unpacked: {error}") from error
        return part, inflater.unused_data if inflater.eof else inflater.unconsumed_tail, inflater.eof

    def _find_data(self, name: bytes) -> int:
        """Where the packed data begin."""
        self._file.seek(self._info.header_offset)
        header = self._file.read(_LOCAL.size)
        signature, *_, name_length, extra_length = _LOCAL.unpack(header)
        if signature != b"PK\x03\x04":
            raise zipfile.BadZipFile("there is no file where one should begin")
        if self._file.read(name_length) != name:
            raise zipfile.BadZipFile("the file in it has two names")
        return self._info.header_offset + _LOCAL.size + int(name_length) + int(extra_length)


def _only_member(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    members = archive.infolist()
    if len(members) != 1 or members[0].orig_filename not in (name, name.encode().decode("cp437")):
        found = ", ".join(repr(member.orig_filename[:80]) for member in members[:3])
        raise FileRefused(f"it should hold {name} and nothing else, and holds {found or 'nothing'}")
    info = members[0]
    if info.flag_bits & _ENCRYPTED:
        raise FileRefused("it is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FileRefused(f"it is packed by method {info.compress_type}; only deflate is known")
    if info.file_size > LARGEST_FILE:
        raise FileRefused(f"it declares {info.file_size} bytes, more than {LARGEST_FILE}")
    if info.file_size > max(_SMALL, LARGEST_RATIO * info.compress_size):
        raise FileRefused(
            f"it declares {info.file_size} bytes in {info.compress_size}: more than {LARGEST_RATIO} times as much"
        )
    return info


def _check_directory(file: IO[bytes]) -> None:
    """Refuse a central directory that is too large for one file: `zipfile` reads all of it."""
    length = file.seek(0, 2)
    start = max(0, length - 22 - 0xFFFF)
    file.seek(start)
    tail = file.read(22 + 0xFFFF)
    place = tail.rfind(_END)
    if tail[-22:-18] == _END and tail[-2:] == b"\0\0":  # as `zipfile` looks for it
        place = len(tail) - 22
    if place < 0:
        raise zipfile.BadZipFile("it has no central directory")
    entries, size = struct.unpack_from("<HL", tail, place + 10)
    if tail[max(0, place - 20) : place][:4] == _END64_PLACE:
        (offset,) = struct.unpack_from("<Q", tail, place - 12)
        file.seek(offset)
        record = file.read(56)
        if record[:4] != _END64:
            raise zipfile.BadZipFile("its 64-bit central directory is not where it should be")
        entries, size = struct.unpack_from("<QQ", record, 32)
    if entries > 1 or size > _LARGEST_DIRECTORY:
        raise FileRefused(f"it holds {entries} files, listed in {size} bytes; it should hold one")
