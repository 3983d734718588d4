"""A disk that can be full: a file system of a few megabytes which only the broker sees.

It is a tmpfs in a user and mount namespace of our own (Linux, no privileges needed), so that ENOSPC is the kernel's and
hits nobody else. It lives until `close`, over any number of restarts of the broker.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from tests.engines.process import EngineError

_LIMIT_S = 90.0
_BLOCK = 64 * 1024


class SmallDisk:
    """`folder`, as a process started by `command` sees it, has `size_mb` megabytes. Raises EngineError."""

    def __init__(self, folder: Path, *, size_mb: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        tools = {name: shutil.which(name) for name in ("unshare", "nsenter", "mount")}
        missing = [name for name, path in tools.items() if path is None]
        if missing:
            raise EngineError(f"a disk that can be full needs Linux with util-linux; missing: {', '.join(missing)}")
        mounting = 'mount -t tmpfs -o "size=$1m" tmpfs "$2" && exec "$3" -m tests.engines.keeper sleep infinity'
        self._holder = subprocess.Popen(
            [
                *("unshare", "--user", "--map-root-user", "--mount"),
                *("sh", "-c", mounting, "sh", str(size_mb), str(folder), sys.executable),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=Path(__file__).parents[3],
            start_new_session=True,
        )
        assert self._holder.stdout is not None
        line = self._holder.stdout.readline()
        if not line:
            error = self._holder.communicate(timeout=_LIMIT_S)[1].decode(errors="replace").strip()
            raise EngineError(f"a file system of one's own is not allowed here (unshare --user --mount): {error}")
        self._pid = int(line)
        self._inside = Path(f"/proc/{self._pid}/root") / folder.relative_to("/")
        self._ballast = self._inside / "ballast"

    def command(self, command: Sequence[str]) -> list[str]:
        """The command, seeing the small disk."""
        return ["nsenter", f"--target={self._pid}", "--user", "--mount", "--preserve-credentials", *command]

    def fill(self) -> None:
        """Use up what is left: the next write that needs a block gets ENOSPC."""
        with self._ballast.open("ab", buffering=0) as file:
            block = bytes(_BLOCK)
            size = _BLOCK
            while size >= 512:
                try:
                    file.write(block[:size])
                except OSError:
                    size //= 2

    def empty(self) -> None:
        """Give back what `fill` used up."""
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        """Let it go; what was on it is lost."""
        assert self._holder.stdin is not None
        self._holder.stdin.close()
        self._holder.wait(_LIMIT_S)
        for pipe in (self._holder.stdout, self._holder.stderr):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> SmallDisk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
