"""What the operating system refuses, in our errors."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streamforge_utils.model.errors import PermanentError, RetryableError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def translated(what: str, *, missing: bool = False) -> Iterator[None]:
    """Raise our errors for those of the operating system. missing: let FileNotFoundError pass."""
    try:
        yield
    except OSError as error:
        if missing and isinstance(error, FileNotFoundError):
            raise
        reason = error.strerror or type(error).__name__
        if error.errno in _NO_ROOM:
            raise RetryableError(
                f"{what}: no room is left ({reason}): make room on that disk, then try again"
            ) from error
        if error.errno in _REFUSED:
            raise PermanentError(
                f"{what}: access is refused ({reason}): give this user the right to read and write there"
            ) from error
        if isinstance(error, NotADirectoryError | FileExistsError):
            raise PermanentError(f"{what}: a file is where a folder should be: choose another folder") from error
        raise RetryableError(f"{what}: {reason}; check that disk, then try again") from error


def no_file(path: Path) -> bool:
    """Whether there is nothing at `path`."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    return False
