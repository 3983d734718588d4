"""The processes of one data directory, and no others: told by what they were started with, killed one by one."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import msgspec

_PROC = Path("/proc")


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as its folder tells it. worker, shim: process ids of those that are alive now."""

    name: str
    queue_id: str
    target: str
    attempt: int
    worker: int | None
    shim: int | None


def is_ours(pid: int, data: Path) -> bool:
    """Whether the process is alive and was started with `data` as its data directory."""
    wanted = f"STREAMFORGE_DATA_DIR={data}".encode()
    try:
        environment = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return False
    return wanted in environment.split(b"\0") and state(pid) not in ("Z", "X", None)


def state(pid: int) -> str | None:
    """`R`, `S`, `T` (stopped), `Z` (a zombie), …; None if there is no such process."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(") ")[2][:1]
    except OSError:
        return None


def of_data(data: Path) -> list[int]:
    """Every live process of the data directory."""
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal() and is_ours(int(entry.name), data)]


def kill(pid: int, data: Path, number: signal.Signals) -> bool:
    """Send the signal if the process is alive and belongs to `data`; whether it was sent."""
    if not is_ours(pid, data):
        return False
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def peak_memory_mb(pid: int) -> float:
    """The most that the process has held in memory so far."""
    for line in (_PROC / str(pid) / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"process {pid} tells no VmHWM")


def live_jobs(data: Path, gone: set[str] | None = None) -> list[Job]:
    """The jobs with a live worker or shim, sorted by name. gone: names to be passed over; ended ones are added."""
    found = []
    folders = sorted((data / "jobs").iterdir()) if (data / "jobs").is_dir() else []
    for folder in folders:
        if folder.name.startswith(".") or (gone is not None and folder.name in gone):
            continue
        ended = (folder / "exit").exists()
        worker, shim = (_alive(folder / name, data) for name in ("pid", "started"))
        if worker is None and shim is None:
            if ended and gone is not None:
                gone.add(folder.name)
            continue
        for one in _members(folder):
            try:
                spec = msgspec.json.decode((one / "spec.json").read_bytes())
            except (OSError, msgspec.DecodeError):
                continue
            found.append(
                Job(
                    name=one.name,
                    queue_id=spec["queue_id"],
                    target=spec["target"],
                    attempt=spec["attempt"],
                    worker=worker,
                    shim=shim,
                )
            )
    return sorted(found, key=lambda job: job.name)


def _members(folder: Path) -> list[Path]:
    """The folders of the jobs that the process of this folder does: those of a basket that have not ended, or one."""
    try:
        names = msgspec.json.decode((folder / "members").read_bytes(), type=list[str])
    except (OSError, msgspec.DecodeError):
        return [folder]
    return [one for one in (folder.parent / name for name in names) if not (one / "exit").exists()]


def _alive(file: Path, data: Path) -> int | None:
    try:
        text = file.read_text()
    except OSError:
        return None
    if not text.endswith("\n") or not text.strip().isdecimal():
        return None
    pid = int(text)
    return pid if is_ours(pid, data) else None
