"""What a launcher and the process of a basket tell each other: the members, how each ended, and who is to end."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from streamforge_utils.model.errors import ConfigError
from streamforge_utils.ports.launcher import JobSpec

BASKET, BASKET_DIR = "STREAMFORGE_BASKET", "STREAMFORGE_BASKET_DIR"
BASKET_REPORT = "STREAMFORGE_BASKET_REPORT"
MOST_BYTES = 64 * 1024
"""Of the members as text: a fork server takes 96 KiB for all variables, and an operating system 128 for one."""

EXIT, STOP = "exit", "stop"
"""The files in a member's folder: its exit code, and the request to end."""

_REPORT, _GOES_ON = "ends of the members:", "---"


class Member(msgspec.Struct, frozen=True):
    """A job of a basket. environment: its own settings, beside those of the process."""

    job: str
    environment: Mapping[str, str]


def divided(environments: Mapping[str, Mapping[str, str]]) -> tuple[dict[str, str], list[Member]]:
    """What several jobs, by name, have in common, and the members with the rest."""
    first, *others = environments.values()
    common = {name: text for name, text in first.items() if all(one.get(name) == text for one in others)}
    members = [
        Member(job, {name: text for name, text in one.items() if name not in common})
        for job, one in environments.items()
    ]
    return common, members


def written(members: Sequence[Member]) -> str:
    """The members as `STREAMFORGE_BASKET` has them."""
    return msgspec.json.encode(members).decode()


def groups_of(specs: Sequence[JobSpec]) -> Iterator[Sequence[JobSpec]]:
    """The jobs, as many of them together as one variable has room for."""
    _, members = divided({spec.name: spec.environment for spec in specs})
    if len(specs) > 1 and len(written(members).encode()) > MOST_BYTES:
        half = len(specs) // 2
        yield from groups_of(specs[:half])
        yield from groups_of(specs[half:])
    else:
        yield specs


def read_members(environ: Mapping[str, str]) -> list[Member]:
    """The members, each with its whole environment. Raises ConfigError."""
    try:
        found = msgspec.json.decode(environ[BASKET], type=list[Member])
    except msgspec.MsgspecError as error:
        raise ConfigError(f"settings: {BASKET}: {error}: expected a list of jobs with their environments") from error
    if not found or len({one.job for one in found}) < len(found):
        raise ConfigError(f"settings: {BASKET}: it names no job, or one twice")
    common = {name: text for name, text in environ.items() if name not in (BASKET, BASKET_DIR, BASKET_REPORT)}
    return [Member(one.job, {**common, **one.environment}) for one in found]


def note_exit(folder: Path, code: int) -> None:
    """Remember how a member ended, in its folder."""
    # In one step: what is read counts with the end of its line.
    _write(folder / EXIT, f"{code}\n", os.O_CREAT | os.O_TRUNC)


def note_exits(report: Path, codes: Sequence[int | None]) -> None:
    """Remember how all members ended, in their order, in a file that is there; None: it goes on. Raises OSError."""
    # In one step, over what was there, which is as long: who reads it, however this process ends, finds it whole.
    _write(report, " ".join([_REPORT, *(_GOES_ON if code is None else f"{code:03}" for code in codes)]), 0)


def read_exits(report: str) -> Sequence[int | None]:
    """What `note_exits` wrote; empty where the text is something else."""
    if not report.startswith(_REPORT):
        return ()
    return [int(word) if word.isdecimal() else None for word in report.removeprefix(_REPORT).split()]


def _write(path: Path, text: str, flags: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | flags, 0o600)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
