"""Records that wait on disk come back in their order, and no file is left."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from streamforge_utils.model.kinds.paging import Page
from streamforge_utils.runtime.live.spill import SEGMENTS, Spill


def batch(number: int, size: int = 3) -> Page:
    ids = [number * 100 + one for one in range(size)]
    return Page(ids, [one + 5 for one in ids], [b"k%d" % one for one in ids], [b"x" * (one % 50) for one in ids])


def test_batches_come_back_in_their_order_while_others_are_put(tmp_path: Path) -> None:
    spill, dice = Spill(tmp_path / "new" / "folder", 20_000), random.Random(1)
    put = got = 0
    for _ in range(3000):
        if dice.random() < 0.5:
            assert spill.put(batch(put, dice.randint(1, 9)))
            put += 1
        elif (page := spill.get()) is not None:
            assert page == batch(got, len(page))
            got += 1
        assert bool(spill.bytes) == (got < put)
        assert not put or not os.listdir(tmp_path / "new" / "folder")
    while (page := spill.get()) is not None:
        assert page.positions[0] == got * 100
        got += 1
    assert got == put > 1000
    assert spill.bytes == 0
    spill.close()


def test_it_takes_no_more_than_its_limit_until_files_are_read(tmp_path: Path) -> None:
    spill = Spill(tmp_path, 8_000)
    count = 0
    while spill.put(batch(count)):
        count += 1
        assert spill.bytes <= 8_000
    assert spill.bytes > 8_000 * (SEGMENTS - 2) / SEGMENTS
    for _ in range(count // 2):
        spill.get()
    assert spill.put(batch(count))
    spill.close()


def test_a_batch_larger_than_the_limit_is_not_taken(tmp_path: Path) -> None:
    spill = Spill(tmp_path, 100)
    assert not spill.put(batch(1, 50))
    assert spill.get() is None


def test_a_folder_that_cannot_be_made_takes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    spill = Spill(tmp_path / "file" / "below", 10_000)
    assert not spill.put(batch(1))
    assert spill.get() is None


def test_closing_gives_the_room_back(tmp_path: Path) -> None:
    spill = Spill(tmp_path, 10_000)
    open_files = len(os.listdir("/dev/fd")) if Path("/dev/fd").exists() else pytest.skip("no /dev/fd")
    spill.put(batch(1))
    assert len(os.listdir("/dev/fd")) == open_files + 1
    spill.close()
    assert len(os.listdir("/dev/fd")) == open_files
    assert spill.get() is None
