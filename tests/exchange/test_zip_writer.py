"""Zips of the test exchange's archive: read by others, the same bytes each time, of a length that is known before."""

from __future__ import annotations

import io
import random
import zipfile

import pytest

from streamforge.exchange import zip_writer
from streamforge.exchange.zip_writer import Member, write_zip
from tests.exchange.conftest import NOW

TEXT = b"".join(b"%d,%d\n" % (number, number * number) for number in range(20_000))


def written(*members: Member, length: int = 0) -> bytes:
    target = io.BytesIO()
    write_zip(target, members, NOW, length=length)
    return target.getvalue()


@pytest.mark.parametrize("length", [0, 500_000])
@pytest.mark.parametrize("large", [False, True])
def test_others_read_what_was_written(length: int, large: bool) -> None:
    blocks = [TEXT[:1000], b"", TEXT[1000:]]
    content = written(Member("a.csv", blocks, large), Member("é.csv", [], large), length=length)
    assert content == written(Member("a.csv", [TEXT], large), Member("é.csv", [b""], large), length=length)
    assert len(content) == (length or len(content))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == {"a.csv": TEXT, "é.csv": b""}
        assert archive.infolist()[0].date_time == (2024, 8, 1, 12, 0, 44)


def test_a_zip_that_is_longer_than_it_should_be_is_whole() -> None:
    noise = random.Random(1).randbytes(10_000)
    with zipfile.ZipFile(io.BytesIO(written(Member("a", [noise]), length=5_000))) as archive:
        assert archive.read("a") == noise


def test_sizes_of_four_gigabytes_stand_where_zip64_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    # as if 4 GiB were 30,000 bytes
    monkeypatch.setattr(zip_writer, "_FULL_32", 30_000)
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 30_000)
    content = written(Member("a.csv", [TEXT], large=True), length=100_000)
    # the reader's marks are not ours to lower: they stand where ours do
    marked = content.replace((30_000).to_bytes(4, "little"), b"\xff" * 4)
    with zipfile.ZipFile(io.BytesIO(marked)) as archive:
        assert archive.read("a.csv") == TEXT
