"""The Python that `make setup` takes: the first that works of 3.11 to 3.14, or an error with what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.limits import LIMIT_S
from tests.places import ROOT

pytestmark = pytest.mark.e2e

SCRIPT = ROOT / "tools" / "python.sh"


@pytest.fixture
def path(tmp_path: Path) -> list[Path]:
    """Folders for PATH. The last one has what the script itself needs; nothing of this machine's is on it."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("bash", "cat"):
        found = shutil.which(name)
        assert found is not None
        (programs / name).symlink_to(found)
    return [tmp_path / "first", tmp_path / "second", programs]


def put(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(exist_ok=True)
    made = folder / name
    made.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    made.chmod(0o755)
    return made


def working(folder: Path, name: str) -> Path:
    """A Python that says, where it is asked, by which name it was called."""
    return put(folder, name, f'CALLED={name} exec {sys.executable} "$@"')


def shim(folder: Path, name: str) -> Path:
    """As pyenv makes one for a version that is not switched on."""
    return put(folder, name, f'echo "pyenv: {name}: command not found" >&2; exit 127')


def of_version(folder: Path, name: str, version: str, level: str = "final") -> Path:
    """A Python that believes itself to be of another version."""
    major, minor, patch = version.split(".")
    lie = (
        "import collections, sys; "
        "sys.version_info = collections.namedtuple('v', 'major minor micro releaselevel serial')"
        f"({major}, {minor}, {patch}, '{level}', 0); sys.version = '{version} (main)'; exec(sys.argv[1])"
    )
    return put(folder, name, f'shift; exec {sys.executable} -c "{lie}" "$@"')


def ran(path: list[Path], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, *arguments],
        env={"PATH": os.pathsep.join(map(str, path))},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def taken(path: list[Path]) -> str:
    """The name of the Python that is taken."""
    done = ran(path, "-c", "import os; print(os.environ['CALLED'])")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("shims", "first", "second", "name"),
    [
        # The first of the versions counts.
        ((), ("python3.14", "python3.11"), (), "python3.11"),
        ((), ("python3", "python3.14", "python3.12"), (), "python3.12"),
        ((), ("python3.14", "python3"), (), "python3.14"),
        ((), ("python3",), (), "python3"),
        ((), ("python",), (), "python"),
        # A shim that leads to nothing does not, and behind it the same name may work.
        (("python3.11", "python3.12"), ("python3.13",), (), "python3.13"),
        (("python3.11",), (), ("python3.11", "python3.12"), "python3.11"),
    ],
)
def test_the_first_of_the_versions_that_works_is_taken(
    path: list[Path], shims: tuple[str, ...], first: tuple[str, ...], second: tuple[str, ...], name: str
) -> None:
    for one in shims:
        shim(path[0], one)
    for folder, names in zip(path, (first, second), strict=False):
        for one in names:
            working(folder, one)
    assert taken(path) == name


@pytest.mark.parametrize(("version", "level"), [("3.10.14", "final"), ("3.15.0", "final"), ("3.11.0", "candidate")])
def test_another_version_and_what_is_no_release_do_not_count(path: list[Path], version: str, level: str) -> None:
    of_version(path[0], "python3", version, level)
    working(path[1], "python3")
    assert taken(path) == "python3"
    assert ran([path[0], path[2]], "--version").returncode == 2


def test_without_any_it_says_what_to_do(path: list[Path]) -> None:
    shim(path[0], "python3.11")
    done = ran(path, "--version")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no Python 3.11, 3.12, 3.13 or 3.14 on PATH that starts" in done.stderr
    for advice in ("apt install python3", "brew install", "uv python install", "make setup PYTHON=/path/to/python3.13"):
        assert advice in done.stderr


def test_one_that_is_named_is_refused_with_the_reason(path: list[Path]) -> None:
    old = of_version(path[0], "python3.10", "3.10.14")
    done = ran(path, "--check", str(old))
    assert done.returncode == 2
    assert done.stderr == f"setup: {old} will not do: it is 3.10.14 (cpython), not CPython 3.11 to 3.14\n"
    done = ran(path, "--check", str(path[0] / "nowhere"))
    assert done.returncode == 2
    assert "nowhere will not do: " in done.stderr
    assert ran(path, "--check", str(working(path[0], "python3.12"))).returncode == 0
