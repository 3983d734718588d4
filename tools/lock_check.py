"""Shows that every pin can be installed: downloads its wheel, by hash, for each Python and system. `make lock-check`.

    python -m tools.lock_check [--python 3.13 …] [--system linux-arm64 …] [FILE …]

Without arguments: every file of requirements/, for Python 3.11 to 3.14 on this machine's system. pip holds the markers
of a requirement against the Python that runs it, not against the one that is asked for, so they are applied here.
"""

from __future__ import annotations

import argparse
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from packaging.markers import Environment
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
PYTHONS: Final = ("3.11", "3.12", "3.13", "3.14")
_PIN = re.compile(r"^(?P<requirement>[A-Za-z0-9][^\\\n]*?)(?P<hashes>(?: *\\\n +--hash=\S+)+)$", re.MULTILINE)
_GLIBC = 28
"""Wheels for glibc 2.5 to 2.28 are taken: every Linux distribution since 2019 has it."""


class System(NamedTuple):
    """A system that wheels are made for. tags: the platforms of its wheels, as pip's `--platform` takes them."""

    sys_platform: str
    platform_system: str
    machine: str
    tags: tuple[str, ...]


def _linux(machine: str) -> System:
    tags = [f"manylinux_2_{minor}_{machine}" for minor in range(5, _GLIBC + 1)]
    return System("linux", "Linux", machine, (*tags, f"manylinux1_{machine}", f"manylinux2014_{machine}"))


SYSTEMS: Final = {
    "linux-x86_64": _linux("x86_64"),
    "linux-arm64": _linux("aarch64"),
    "macos-arm64": System("darwin", "Darwin", "arm64", ("macosx_14_0_arm64",)),
    "macos-x86_64": System("darwin", "Darwin", "x86_64", ("macosx_14_0_x86_64",)),
}


class Pin(NamedTuple):
    """A pinned version and the hashes of its files, `--hash=sha256:…` each."""

    requirement: Requirement
    hashes: tuple[str, ...]


def pins(text: str) -> list[Pin]:
    """The pins of a requirements file. Raises ValueError: a line belongs to none."""
    found = [
        Pin(Requirement(one["requirement"]), tuple(re.findall(r"--hash=\S+", one["hashes"])))
        for one in _PIN.finditer(text)
    ]
    rest = [line for line in _PIN.sub("", text).splitlines() if line.strip() and not line.startswith("#")]
    if rest:
        raise ValueError(f"no pin with hashes: {rest[0]}")
    return found


def needed(pins: Sequence[Pin], release: str, system: System) -> list[Pin]:
    """Those of the pins that a release of Python (`3.12.4`) needs on that system."""
    environment = Environment(
        implementation_name="cpython",
        implementation_version=release,
        os_name="posix",
        platform_machine=system.machine,
        platform_python_implementation="CPython",
        platform_release="",
        platform_system=system.platform_system,
        platform_version="",
        python_full_version=release,
        python_version=release.rpartition(".")[0],
        sys_platform=system.sys_platform,
    )
    given = {name: str(value) for name, value in environment.items()}
    return [pin for pin in pins if pin.requirement.marker is None or pin.requirement.marker.evaluate(given)]


def batches(pins: Sequence[Pin], python: str, system: System) -> list[list[Pin]]:
    """What is to be had for `python` (`3.12`): what its newest release needs, then what only its first one needs."""
    newest, first = (needed(pins, f"{python}.{patch}", system) for patch in (99, 0))
    return [newest, [pin for pin in first if pin not in newest]]


def download(wanted: Sequence[Pin], python: str, system: System) -> str | None:
    """Fetch the wheels into a folder that is removed; what pip says if one cannot be had."""
    with tempfile.TemporaryDirectory() as scratch:
        lines = [f"{pin.requirement.name}{pin.requirement.specifier} {' '.join(pin.hashes)}\n" for pin in wanted]
        listed = Path(scratch, "wanted.txt")
        listed.write_text("".join(lines), "utf-8")
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "-q"]
        command += ["--no-deps", "--require-hashes", "--only-binary=:all:", "--implementation=cp"]
        command += [f"--python-version={python}", *(f"--platform={tag}" for tag in system.tags)]
        command += ["--dest", str(Path(scratch, "wheels")), "-r", str(listed)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
        return None if done.returncode == 0 else done.stderr.strip()[-2000:]


def here() -> str:
    """The name of this machine's system."""
    named = "linux" if platform.system() == "Linux" else "macos"
    return f"{named}-{'arm64' if platform.machine() in ('aarch64', 'arm64') else 'x86_64'}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Download and say so; 1 if something cannot be had."""
    parser = argparse.ArgumentParser(prog="tools.lock_check", description=__doc__)
    parser.add_argument("files", nargs="*", metavar="FILE", help="of requirements/; all of them without one")
    parser.add_argument("--python", action="append", choices=PYTHONS)
    parser.add_argument("--system", action="append", choices=[*SYSTEMS, "all"])
    given = parser.parse_args(arguments)
    names = given.files or sorted(path.name for path in (ROOT / "requirements").glob("*.txt"))
    systems = list(SYSTEMS) if "all" in (given.system or ()) else given.system or [here()]
    failed = 0
    for name in names:
        listed = pins((ROOT / "requirements" / Path(name).name).read_text("utf-8"))
        for system in systems:
            for python in given.python or PYTHONS:
                wanted = [batch for batch in batches(listed, python, SYSTEMS[system]) if batch]
                problem = next(filter(None, (download(batch, python, SYSTEMS[system]) for batch in wanted)), None)
                verdict = f"{sum(map(len, wanted))} wheels" if problem is None else f"FAILED\n{problem}"
                print(f"lock-check: {name}, Python {python}, {system}: {verdict}", flush=True)
                failed += problem is not None
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
