"""Folders for the time of a command. What commands leave that were killed is removed by the next one that makes one."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

PREFIX = "streamforge-command-"
LEFT_AFTER_S = 600.0
"""A younger one may not be locked yet."""


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A new folder, locked by this process, which goes with its content at the end. Raises OSError."""
    _remove_left(tempfile.gettempdir())
    with ExitStack() as stack:
        made = tempfile.TemporaryDirectory(prefix=PREFIX)  # removed before it is unlocked
        lock = os.open(made.name, os.O_RDONLY)
        stack.callback(os.close, lock)
        stack.callback(made.cleanup)
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Path(made.name)


def _remove_left(whole: str) -> None:
    """Remove those of this user that are old and that no process has locked."""
    with suppress(OSError), os.scandir(whole) as entries:
        for one in entries:
            if not one.name.startswith(PREFIX) or not one.is_dir(follow_symlinks=False):
                continue
            with suppress(OSError), ExitStack() as stack:  # locked, or gone meanwhile
                found = one.stat(follow_symlinks=False)
                if found.st_uid != os.getuid() or time.time() - found.st_mtime < LEFT_AFTER_S:
                    continue
                lock = os.open(one.path, os.O_RDONLY | os.O_NOFOLLOW)
                stack.callback(os.close, lock)
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(one.path, ignore_errors=True)
