"""The file in a zip: whole rows however it is cut, and a reason for each zip that is refused."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamforge_utils.adapters.binance import zip_member
from streamforge_utils.adapters.binance.zip_member import ZipMember
from streamforge_utils.ports.archive import FileRefused
from tests.doubles.archivehost import zipped

NAME = "BTCUSDT-trades-2024-08-01.csv"
ROWS = b"".join(b"%d,%d.5,row\n" % (number, number * 7919) for number in range(2000))


def blocks(content: bytes, size: int = 4096) -> list[bytes]:
    return list(ZipMember(io.BytesIO(content), NAME).blocks(size))


@given(
    rows=st.lists(st.binary(max_size=40).map(lambda row: row.replace(b"\n", b"").replace(b"\r", b"")), max_size=60),
    size=st.integers(1, 200),
    method=st.sampled_from([zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED]),
    ended=st.booleans(),
)
def test_blocks_of_any_size_hold_the_same_whole_rows(rows: list[bytes], size: int, method: int, ended: bool) -> None:
    lines = [b"1" + row for row in rows]
    text = b"\n".join(lines) + (b"\n" if ended and lines else b"")
    found = blocks(zipped(NAME, text, method=method), size)
    assert b"".join(found) == b"".join(line + b"\n" for line in lines)
    assert all(block.endswith(b"\n") for block in found)


@pytest.mark.parametrize("inflater", ["isal", "zlib"])
def test_both_inflaters_read_a_large_file(inflater: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if inflater == "zlib":
        monkeypatch.setattr(zip_member, "zlib", zlib)
    assert b"".join(blocks(zipped(NAME, ROWS * 20), 64 * 1024)) == ROWS * 20


@pytest.mark.parametrize("header", [b"id,price,x\n", b""])
def test_a_header_row_is_left_out(header: bytes) -> None:
    for size in (1, 7, 4096):
        assert b"".join(blocks(zipped(NAME, header + ROWS), size)) == ROWS


def test_a_file_without_rows_gives_nothing() -> None:
    assert blocks(zipped(NAME, b"")) == []
    assert blocks(zipped(NAME, b"id,price\n")) == []


def test_sizes_of_64_bits_are_read() -> None:
    target = io.BytesIO()
    with (
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(NAME, "w", force_zip64=True) as file,
    ):
        file.write(ROWS)
    assert b"".join(blocks(target.getvalue())) == ROWS


def several(**files: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()


def changed(content: bytes, signature: bytes, offset: int, form: str, value: Any) -> bytes:
    """A zip with another value in its (last) record of that signature."""
    found = bytearray(content)
    struct.pack_into(form, found, content.rindex(signature) + offset, value)
    return bytes(found)


CENTRAL, LOCAL, END = b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"
GOOD = zipped(NAME, ROWS)

BAD = {
    "nothing": (b"", "no central directory"),
    "text": (b"<html>Forbidden</html>" * 10, "no central directory"),
    "cut": (GOOD[: len(GOOD) // 2], "no central directory"),
    "two files": (several(**{NAME: b"1\n", "more.csv": b"1\n"}), "it holds 2 files"),
    "no file": (several(), "holds nothing"),
    "another name": (zipped("BTCUSDT-trades-2024-08-02.csv", ROWS), "it should hold BTCUSDT-trades-2024-08-01.csv"),
    "a path": (zipped("../" + NAME, ROWS), "it should hold BTCUSDT-trades-2024-08-01.csv and nothing else"),
    "an absolute path": (zipped("/etc/" + NAME, ROWS), "and nothing else, and holds '/etc/"),
    "a folder": (zipped(NAME + "/", b""), "and nothing else"),
    "encrypted": (changed(GOOD, CENTRAL, 8, "<H", 1), "it is encrypted"),
    "another method": (changed(GOOD, CENTRAL, 10, "<H", 14), "packed by method 14"),
    "too much in too little": (zipped(NAME, b"1\n" * 3_000_000), "more than 100 times as much"),
    "too large": (changed(changed(GOOD, CENTRAL, 24, "<L", 0xFFFFFFF0), CENTRAL, 20, "<L", 0xFFFFFFF0), "it "),
    "declares too little": (changed(GOOD, CENTRAL, 24, "<L", len(ROWS) - 5), "declares"),
    "declares too much": (changed(GOOD, CENTRAL, 24, "<L", len(ROWS) + 5), "declares"),
    "another check sum": (changed(GOOD, CENTRAL, 16, "<L", 1), r"check sum \(CRC\)"),
    "damaged data": (GOOD[:200] + b"\xff" * 20 + GOOD[220:], "cannot be unpacked|CRC|declares|too early"),
    "two names": (GOOD.replace(NAME.encode(), b"X" * len(NAME), 1), "two names"),
    "data elsewhere": (changed(GOOD, CENTRAL, 42, "<L", 3), "no zip that can be read"),
    "a long row": (zipped(NAME, b"1" * 70_000), "a row of more than"),
    "a large directory": (changed(GOOD, END, 12, "<L", 10_000_000), "listed in 10000000 bytes"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_zip_of_the_file_is_refused(name: str) -> None:
    content, reason = BAD[name]
    with pytest.raises(FileRefused, match=reason):
        blocks(content)
