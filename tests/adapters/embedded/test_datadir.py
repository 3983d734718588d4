"""The data directory: its format, its lock, and where its manager serves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from streamforge_utils.adapters.embedded.datadir import DataDirectory
from streamforge_utils.model.errors import ConfigError
from tests.limits import LIMIT_S

HOLD = """
import sys
from pathlib import Path
from streamforge_utils.adapters.embedded.datadir import DataDirectory
folder = DataDirectory(Path(sys.argv[1]))
with folder.lock():
    folder.advertise("http://127.0.0.1:12345")
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_is_made_for_its_owner_only(tmp_path: Path) -> None:
    DataDirectory(tmp_path / "new").open()
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


@pytest.mark.e2e
def test_one_process_holds_the_folder_and_the_others_learn_where_it_serves(tmp_path: Path) -> None:
    folder = DataDirectory(tmp_path)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert folder.held()
        assert folder.server() == "http://127.0.0.1:12345"
        with pytest.raises(ConfigError, match=r"--server http://127\.0\.0\.1:12345"), folder.lock():
            pass
        holder.kill()
        holder.wait(LIMIT_S)
        assert not folder.held()
        assert folder.server() is None, "what a killed manager advertised is not believed"
        with folder.lock():
            assert folder.server() is None, "this one does not serve yet"
    finally:
        holder.kill()
        holder.communicate(timeout=LIMIT_S)


def test_who_holds_the_folder_drives_it_unless_it_says_otherwise(tmp_path: Path) -> None:
    folder = DataDirectory(tmp_path)
    assert not folder.driven()
    for drives in (False, True, False):
        with folder.lock(drives=drives):
            assert (folder.held(), folder.driven(), folder.server()) == (True, drives, None)
            if drives:
                folder.advertise("http://127.0.0.1:12345")
                assert (folder.driven(), folder.server()) == (True, "http://127.0.0.1:12345")
        assert (folder.held(), folder.driven(), folder.server()) == (False, False, None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"format": 3}', r"has format 3; this version of StreamForge knows up to 2: upgrade"),
        ("{", r"format\.json is damaged"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused_by_name(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "format.json").write_text(text)
    with pytest.raises(ConfigError, match=reason):
        DataDirectory(tmp_path).open()
    with pytest.raises(ConfigError, match=r"cannot be used .* choose another with --data"):
        DataDirectory(tmp_path / "format.json").open()
