"""The folders of a basket: one of the process, as a job has it, and one of each member, which names that. Blocking.

The folder of the process also names its `members`. A member's holds `spec.json`, `exit` once its attempt has ended (the
process writes it), and `stop` once it is asked to end. Of one without `exit` is known what is known of the process.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from streamforge_utils.adapters.embedded.launcher.folder import Folder, Remembered
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.ports.basket_members import BASKET, BASKET_DIR, STOP, divided, groups_of, written
from streamforge_utils.ports.launcher import JobSpec

PREFIX = "basket-"
_MEMBERS = "members"


def baskets_of(specs: Sequence[JobSpec], directory: Path) -> Iterator[tuple[JobSpec, Sequence[JobSpec]]]:
    """The processes that run the jobs, each with its members; one that is alone has none."""
    for group in groups_of(specs):
        first = group[0]
        if len(group) == 1:
            yield first, ()
            continue
        common, members = divided({spec.name: spec.environment for spec in group})
        environment = {**common, BASKET: written(members), BASKET_DIR: str(directory)}
        name = f"{PREFIX}{first.target}-{uuid.uuid4().hex}"
        yield msgspec.structs.replace(first, name=name, queue_id="", attempt=0, environment=environment), group


def is_of_process(name: str) -> bool:
    """Whether a folder is that of a basket's process."""
    return name.startswith(PREFIX)


def process_of(folder: Folder, remembered: Remembered | None) -> Folder:
    """The folder of the process that does a job: its own, unless it is a member of a basket."""
    if remembered is None or not remembered.basket:
        return folder
    return Folder(folder.path.parent, remembered.basket)


def may_have_started(folder: Folder) -> bool:
    """Whether the job was ever started, or is about to be."""
    process = process_of(folder, folder.remembered())
    return process.was_started() or (process is not folder and process.is_held())


def ask_to_stop(member: Folder) -> None:
    """Let the process end the member."""
    with contextlib.suppress(OSError):  # a full disk, or it was forgotten: it is ended with the process then
        (member.path / STOP).touch(mode=0o600)


def is_running(member: Folder, process: Folder) -> bool:
    """Whether the member has not ended."""
    # Its own status first: once that is there, the process says nothing of it any more.
    if member.status() is not None or not process.was_started():
        return False
    return process.is_held() or (process.status() is None and not process.note_lost())


def make_folders(directory: Path, process: JobSpec, members: Sequence[JobSpec], now_ms: int) -> None:
    """Make the folders of the members, and that of their process with their names. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    if members:
        folder = Folder(directory, process.name)
        folder.make()
        (folder.path / _MEMBERS).write_bytes(msgspec.json.encode([member.name for member in members]))
    for member in members:
        folder = Folder(directory, member.name)
        folder.make()
        folder.remember(member, now_ms, basket=process.name)


def has_members(process: Folder) -> bool:
    """Whether the folder of a member is still there."""
    return any(True for _ in _members_of(process))


def has_others(process: Folder) -> bool:
    """Whether a member has not ended that was not asked to."""
    return any(one.status() is None and not (one.path / STOP).exists() for one in _members_of(process))


def _members_of(process: Folder) -> Iterator[Folder]:
    try:
        names = msgspec.json.decode((process.path / _MEMBERS).read_bytes(), type=list[str])
    except (OSError, msgspec.MsgspecError):
        return
    for name in names:
        folder = Folder(process.path.parent, name)
        found = folder.remembered()
        if found is not None and found.basket == process.name:
            yield folder


def sweep_baskets(directory: Path, older_than_s: float = 60) -> None:
    """Remove what a launcher that was killed has left of baskets that were never started, or are forgotten."""
    for path in directory.glob(f"{PREFIX}*"):
        process = Folder(directory, path.name)
        with contextlib.suppress(OSError, RetryableError):
            if time.time() - path.stat().st_mtime > older_than_s and not (has_members(process) or process.is_held()):
                process.remove()
