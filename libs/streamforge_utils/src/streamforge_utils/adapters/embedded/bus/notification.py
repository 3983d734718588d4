"""Notification of consumers in any process that a topic has changed: a named pipe for each, beside the topic's log.

A consumer that waits costs nothing until its pipe is written to. A byte that was not read yet stays in the
pipe, so a change between a look into the log and the wait is not missed.
"""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path

_PREFIX = "waiting-"
_DRAFT = "draft-waiting-"
_READ_BYTES = 4096


class Waiter:
    """The pipe of one consumer of the topic in `folder`. Raises OSError where the file system has no named pipes."""

    def __init__(self, folder: Path) -> None:
        name = secrets.token_hex(8)
        draft = folder / f"{_DRAFT}{name}"
        self._path = folder / f"{_PREFIX}{name}"
        self.descriptor = self._writer = -1
        os.mkfifo(draft, 0o600)
        try:
            self.descriptor = os.open(draft, os.O_RDONLY | os.O_NONBLOCK)
            # While a writer has it open, a read does not find its end.
            self._writer = os.open(draft, os.O_WRONLY | os.O_NONBLOCK)
            # A pipe without a reader is taken for that of a dead process: it gets its name last.
            draft.rename(self._path)
        except BaseException:
            draft.unlink(missing_ok=True)
            self.close()
            raise

    def drain(self) -> None:
        """Forget the notifications so far."""
        with suppress(BlockingIOError):
            while len(os.read(self.descriptor, _READ_BYTES)) == _READ_BYTES:
                pass

    def close(self) -> None:
        """Remove the pipe. A second call does nothing."""
        self._path.unlink(missing_ok=True)
        for descriptor in (self.descriptor, self._writer):
            if descriptor >= 0:
                os.close(descriptor)
        self.descriptor = self._writer = -1


def notify(folder: Path) -> None:
    """Wake every consumer of the topic in `folder`; pipes of dead processes are removed."""
    try:
        with os.scandir(folder) as entries:
            paths = [entry.path for entry in entries if entry.name.startswith(_PREFIX)]
    except FileNotFoundError:  # the topic was deleted
        return
    for path in paths:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno == errno.ENXIO:  # no process has it open to read
                Path(path).unlink(missing_ok=True)
            continue  # a consumer that is not notified looks by itself, less often
        try:
            # A full pipe wakes its reader as well.
            with suppress(OSError):
                os.write(descriptor, b"\0")
        finally:
            os.close(descriptor)
