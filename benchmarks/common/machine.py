"""The machine in words: a number without it says nothing."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import msgspec


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured on. load: of the last minute, runnable processes, before the first benchmark began."""

    date: str
    processor: str
    cores: int
    memory_gb: float
    system: str
    python: str
    sqlite: str
    file_system: str
    load: float


def this_machine() -> Machine:
    """The machine that this runs on, now."""
    return Machine(
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gb=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9,
        system=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        sqlite=sqlite3.sqlite_version,
        file_system=_file_system(Path(tempfile.gettempdir())),
        load=os.getloadavg()[0],
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        found = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False
        ).stdout
        return found.strip() or platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _file_system(path: Path) -> str:
    """The type of the file system that holds `path`, as the system calls it."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    holding = [(place, kind) for place, kind in mounts if path.resolve().is_relative_to(place)]
    return max(holding, key=lambda mount: len(mount[0]))[1] if holding else "unknown"
