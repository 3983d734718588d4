"""Folders of commands that were killed go with the next one that makes one; those in use, young or foreign stay."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from streamforge.cli.datasets.object_place import ObjectPlace
from streamforge.cli.temporary_folder import LEFT_AFTER_S, PREFIX, temporary_folder
from streamforge_utils.adapters.object_storage.object_folder import ObjectFolder
from tests.cleanenv import environment
from tests.limits import LIMIT_S

KILLED = """
import os, signal, sys
from pathlib import Path
from streamforge.cli.datasets.object_place import ObjectPlace
from streamforge_utils.adapters.object_storage.object_folder import ObjectFolder

place = ObjectPlace(ObjectFolder(Path(sys.argv[1])), "s3://b")
place.draft("a.parquet").write_bytes(b"half")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def age(folder: Path, seconds: float = LEFT_AFTER_S) -> None:
    then = time.time() - seconds - 1
    os.utime(folder, (then, then))


@pytest.mark.e2e
def test_what_a_killed_export_to_objects_left_goes_with_the_next_one(whole: Path, tmp_path: Path) -> None:
    command = (sys.executable, "-c", KILLED, str(tmp_path))
    ran = subprocess.run(command, env=environment(TMPDIR=str(whole)), timeout=LIMIT_S)
    assert ran.returncode == -signal.SIGKILL
    (left,) = whole.iterdir()
    assert (left / "draft").read_bytes() == b"half"
    other, foreign = whole / "streamforge-another", whole / f"{PREFIX}file"
    other.mkdir()
    foreign.touch()
    for one in (other, foreign):
        age(one)
    places = [ObjectPlace(ObjectFolder(tmp_path), "s3://b") for _ in range(2)]
    used = places[0].draft("a.parquet")
    assert left.is_dir(), "it is too young"
    for one in (left, used.parent):
        age(one)
    assert places[1].draft("a.parquet") != used
    assert (left.exists(), used.parent.is_dir(), other.exists(), foreign.exists()) == (False, True, True, True)
    for place in places:
        asyncio.run(place.close())
    assert sorted(whole.iterdir()) == sorted((other, foreign))


def test_a_folder_goes_at_the_end_also_by_an_error(whole: Path) -> None:
    def fail() -> None:
        with temporary_folder() as made:
            (made / "a").mkdir()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(whole.iterdir()) == []
