"""export --partition, killed: what is left is whole, readers see nothing else, and the same command does the rest."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cleanenv import environment
from tests.cli.datasets.test_dataset_export import DAYS, READERS, TYPE, files
from tests.cli.datasets.test_dataset_export import days as days
from tests.cli.support import Cli
from tests.limits import LIMIT_S

ROWS, CUT_BYTES = 24, 2000
"""Of each of the two files; and after how many bytes a write is cut."""

EXPORT = f"""
import os, resource, signal, sys
from streamforge.cli.main import main

folder, step, done = sys.argv[1], int(sys.argv[2]), 0

def change(event, given):
    global done
    changes = event in ("os.mkdir", "os.link", "os.rename", "os.remove", "os.rmdir")
    changes = changes or event == "open" and given[2] & (os.O_WRONLY | os.O_RDWR)
    if changes and str(given[0]).startswith(folder):
        done += 1
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)
        if done == -step:  # the system ends it amid a write
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, ({CUT_BYTES}, {CUT_BYTES}))

sys.addaudithook(change)
code = main(["export", "BTCUSDT", "{TYPE}", "{DAYS}", "--partition", "day", "-o", folder, "--data", sys.argv[3]])
print(done)
sys.exit(code)
"""


def export(days: Cli, folder: Path, step: int = 0) -> subprocess.CompletedProcess[str]:
    """Export into `folder`; step: killed before that change of its files; negative: amid a write behind it."""
    command = (sys.executable, "-c", EXPORT, str(folder), str(step), str(days.data))
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, env=environment())


def drafts(folder: Path) -> dict[str, int]:
    """What readers do not see: the names, and how many bytes each has."""
    return {name: len(text) for name, text in files(folder).items() if Path(name).name.startswith(".")}


def assert_whole(folder: Path, wanted: dict[str, bytes]) -> None:
    """What readers see are whole files, and nothing else."""
    hidden = drafts(folder)
    seen = {name: text for name, text in files(folder).items() if name not in hidden}
    assert seen.items() <= wanted.items()
    whole = sum(name.endswith(".parquet") for name in seen)
    for read in READERS if whole else ():
        assert len(read(folder)) == whole * ROWS


def assert_ended(days: Cli, folder: Path, wanted: dict[str, bytes]) -> None:
    """The same command leaves what an export leaves that nobody killed."""
    days("export", "BTCUSDT", TYPE, DAYS, "--partition", "day", "-o", str(folder)).ok()
    assert files(folder) == wanted


@pytest.mark.long
@pytest.mark.parametrize("every", [6, 1])
def test_an_export_that_is_killed_between_any_two_changes_leaves_whole_files_and_is_ended_by_the_next(
    days: Cli, tmp_path: Path, every: int
) -> None:
    ran = export(days, tmp_path / "whole")
    wanted, changes, told = files(tmp_path / "whole"), int(ran.stdout), set[int]()
    for step in range(1, changes + 1, every):
        folder = tmp_path / f"set{step}"
        killed = export(days, folder, step)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert_whole(folder, wanted)
        told.add(sum(name.endswith(".parquet") for name in files(folder)))
        assert_ended(days, folder, wanted)
        shutil.rmtree(folder)
    assert told == {0, 1, 2}


@pytest.mark.e2e
def test_an_export_that_is_killed_amid_a_file_leaves_no_part_of_it(days: Cli, tmp_path: Path) -> None:
    ran = export(days, tmp_path / "whole")
    wanted, folder = files(tmp_path / "whole"), tmp_path / "set"
    killed = export(days, folder, -int(ran.stdout) // 2)
    assert killed.returncode == -signal.SIGXFSZ, killed.stderr
    assert [*drafts(folder).values()] == [CUT_BYTES]
    assert_whole(folder, wanted)
    assert_ended(days, folder, wanted)
