"""Zips as the archive publishes them: the same members give the same bytes, written in bounded memory."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import BinaryIO

import msgspec
from isal import isal_zlib

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END_64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR_64 = struct.Struct("<4sIQI")
_FULL_16, _FULL_32 = 0xFFFF, 0xFFFF_FFFF
_DEFLATED, _UTF_8 = 8, 0x800
_LEVEL = 1


class Member(msgspec.Struct, frozen=True):
    """A file in a zip. blocks: its content. large: it may have 4 GiB or more. size: named instead of the true one."""

    name: str
    blocks: Iterable[bytes]
    large: bool = False
    size: int | None = None


class Written(msgspec.Struct):
    """A member that was written. offset: of its header. begin, length: of its compressed bytes. size: before that."""

    name: bytes
    offset: int
    large: bool
    begin: int = 0
    length: int = 0
    size: int = 0
    checksum: int = 0


def write_zip(target: BinaryIO, members: Iterable[Member], moment_ms: int, *, length: int = 0) -> Sequence[Written]:
    """Write a zip into the empty file `target`.

    moment_ms: when its members were changed. length: fill up to so many bytes, between the last member and the
    directory; a zip that is longer stays as it is.
    """
    stamp = _dos_time(moment_ms)
    written = [_write_member(target, member, stamp) for member in members]
    directory = b"".join(_central(one, stamp) for one in written)
    offset = target.tell()
    end = _end(len(written), len(directory), max(offset, length - len(directory) - _END.size))
    offset = max(offset, length - len(directory) - len(end))
    target.seek(offset)
    target.write(directory)
    target.write(_end(len(written), len(directory), offset))
    return written


def _write_member(target: BinaryIO, member: Member, stamp: tuple[int, int]) -> Written:
    found = Written(member.name.encode(), target.tell(), member.large)
    target.write(_local(found, stamp))
    found.begin = target.tell()
    packer = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, -15)
    for block in member.blocks:
        found.size += len(block)
        found.checksum = isal_zlib.crc32(block, found.checksum)
        target.write(packer.compress(block))
    target.write(packer.flush())
    end = target.tell()
    found.length = end - found.begin
    if member.size is not None:
        found.size = member.size
    target.seek(found.offset)
    target.write(_local(found, stamp))
    target.seek(end)
    return found


def _local(one: Written, stamp: tuple[int, int]) -> bytes:
    extra = struct.pack("<2H2Q", 1, 16, one.size, one.length) if one.large else b""
    sizes = (_FULL_32, _FULL_32) if one.large else (one.length, one.size)
    version = 45 if one.large else 20
    return (
        _LOCAL.pack(b"PK\3\4", version, _UTF_8, _DEFLATED, *stamp, one.checksum, *sizes, len(one.name), len(extra))
        + one.name
        + extra
    )


def _central(one: Written, stamp: tuple[int, int]) -> bytes:
    large = [number for number in (one.size, one.length, one.offset) if number >= _FULL_32]
    extra = struct.pack(f"<2H{len(large)}Q", 1, 8 * len(large), *large) if large else b""
    size, length, offset = (min(number, _FULL_32) for number in (one.size, one.length, one.offset))
    lengths = (len(one.name), len(extra), 0, 0, 0)
    return (
        _CENTRAL.pack(b"PK\1\2", 45, 45, _UTF_8, _DEFLATED, *stamp, one.checksum, length, size, *lengths, 0, offset)
        + one.name
        + extra
    )


def _end(count: int, length: int, offset: int) -> bytes:
    end = _END.pack(b"PK\5\6", 0, 0, count, count, length, min(offset, _FULL_32), 0)
    if offset < _FULL_32:
        return end
    large = _END_64.pack(b"PK\6\6", _END_64.size - 12, 45, 45, 0, 0, count, count, length, offset)
    return large + _LOCATOR_64.pack(b"PK\6\7", 0, offset + length, 1) + end


def _dos_time(moment_ms: int) -> tuple[int, int]:
    moment = datetime.fromtimestamp(moment_ms // 1000, UTC)
    date = (moment.year - 1980) << 9 | moment.month << 5 | moment.day
    return moment.hour << 11 | moment.minute << 5 | moment.second // 2, date & _FULL_16
