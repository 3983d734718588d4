"""The folder in which one group's modules are mutated: both packages and the tests, copied, and mutmut's settings.

mutmut looks for sources in `src` alone and copies what it mutates from there into `mutants`, so both packages are laid
beside each other. What is mutated is found before anything that is installed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "mutants"
ENVIRONMENT = ROOT / "build" / "mutants-env"
_GROUPS = ROOT / "tools" / "mutants" / "groups.toml"
_SOURCES = ("src/streamforge", "libs/streamforge_utils/src/streamforge_utils")
_BESIDE = ("tests", "benchmarks", "tools", "docs", "services")
"""What the tests read and import."""

PATIENCE = 10.0
"""A mutant is given so many times what its tests take without it, and never less than so many seconds."""

_SHOW = """
import json, sys
from mutmut.mutation.diff_apply import find_mutant, get_diff_for_mutant
print(json.dumps([get_diff_for_mutant(name, path=find_mutant(name).path) for name in sys.argv[1:]]))
"""
"""As `mutmut show`, which shows one and starts slowly."""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """modules: files of this repository. tests: what must notice a change in them, as pytest takes it.

    without: tests of these that are not asked, as `path::name`.
    """

    modules: list[str]
    tests: list[str]
    without: list[str] = []


def groups() -> dict[str, Group]:
    """The groups by name, in the order of the file. Raises ValueError: a file is not there."""
    found = msgspec.convert(tomllib.loads(_GROUPS.read_text("utf-8")), dict[str, Group])
    for name, group in found.items():
        named = (*group.modules, *(test.partition("::")[0] for test in (*group.tests, *group.without)))
        gone = [path for path in named if not (ROOT / path).exists()]
        gone += [test for test in group.without if not _is_in(*test.split("::"))]
        if gone:
            raise ValueError(f"{_GROUPS.name}, [{name}]: {', '.join(gone)}: not there")
    return found


class Workspace:
    """One group's folder. module: of this repository; inside the folder its path is shorter."""

    def __init__(self, name: str, group: Group) -> None:
        self.folder = BUILD / name
        self.log = BUILD / f"{name}.log"
        self._group = group

    @property
    def modules(self) -> list[str]:
        """The modules as the folder has them, `src/…`."""
        return ["src/" + module.rpartition("src/")[2] for module in self._group.modules]

    def is_current(self) -> bool:
        """Whether the folder has the modules as they are now: its results speak of them."""
        for module, name in zip(self._group.modules, self.modules, strict=True):
            copied = self.folder / name
            if not copied.exists() or copied.read_bytes() != (ROOT / module).read_bytes():
                return False
        return True

    def make(self) -> None:
        """Make the folder; what was there is gone."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.settle()

    def settle(self) -> None:
        """Bring sources and what lies beside them up to date, and mutmut's settings."""
        for source in _SOURCES:
            _copy(ROOT / source, self.folder / "src" / Path(source).name)
        for name in _BESIDE:
            for place in (self.folder / name, self.folder / "mutants" / name):
                shutil.rmtree(place, ignore_errors=True)
            _copy(ROOT / name, self.folder / name)
        settings = {
            "source_paths": ["src"],
            "only_mutate": self.modules,
            "also_copy": list(_BESIDE),
            "pytest_add_cli_args_test_selection": self._group.tests,
            # The same examples and the same order each time.
            "pytest_add_cli_args": [
                *("-p", "no:cacheprovider", "--hypothesis-seed=0", "--override-ini=timeout=0"),
                *(f"--deselect={test}" for test in self._group.without),
            ],
            "do_not_mutate_patterns": [r"_log\.(?:debug|info|warning|error)\("],
            "type_check_command": [
                *(str(ENVIRONMENT / "bin" / "python"), "-m", "mypy", "--output", "json"),
                *("--disable-error-code", "unused-ignore"),
                *("--cache-dir", str(BUILD / "mypy-cache")),
                *self.modules,
            ],
            "timeout_constant": 1.0,
            "timeout_multiplier": PATIENCE,
            "use_git_change_detection": False,
        }
        lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
        # What mutmut writes around the mutants ignores types without saying which.
        ours = (ROOT / "pyproject.toml").read_text("utf-8").replace('"ignore-without-code", ', "")
        text = "\n".join([ours, "[tool.mutmut]", *lines, ""])
        (self.folder / "pyproject.toml").write_text(text, "utf-8")

    def run(self, processes: int, mutants: Sequence[str] = ()) -> int:
        """Try the mutants, all that have no result yet unless some are named; mutmut's exit code."""
        command = [str(ENVIRONMENT / "bin" / "mutmut"), "run", "--max-children", str(processes), *mutants]
        with self.log.open("wb") as log:
            return subprocess.run(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
            ).returncode

    def show(self, mutants: Sequence[str]) -> list[list[str]]:
        """The lines of each change, as a diff has them, without its head."""
        command = [str(ENVIRONMENT / "bin" / "python"), "-c", _SHOW, *mutants]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=True)
        found: list[str] = json.loads(done.stdout.splitlines()[-1])
        return [
            [line for line in diff.splitlines() if line[:1] in ("+", "-") and line[:3] not in ("+++", "---")]
            for diff in found
        ]


def _is_in(path: str, test: str) -> bool:
    file = ROOT / path
    return file.exists() and f"def {test}(" in file.read_text("utf-8")


def _copy(source: Path, target: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "node_modules")
    shutil.copytree(source, target, ignore=ignored, dirs_exist_ok=True)


if sys.platform == "win32":  # mutmut forks
    raise SystemExit("mutants: this needs Linux or macOS")
