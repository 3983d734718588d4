"""A container of an image, run by a test, its output in a file."""

from __future__ import annotations

import secrets
import shlex
import subprocess
from pathlib import Path

from tests.engines import crun
from tests.engines.crun import Asked, Rootfs

__all__ = ["Asked", "Container", "Rootfs", "run"]

_STOP_S = 20.0


class Container:
    """A container that runs. folder: for what belongs to it; made here."""

    def __init__(self, rootfs: Rootfs, asked: Asked, folder: Path) -> None:
        command = crun.prepare(rootfs, asked, folder)
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, cwd=crun.HOME, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.told = shlex.join(crun.words(rootfs, asked))

    def wait(self, limit_s: float) -> int:
        """Wait for its end; its exit code."""
        return self._process.wait(limit_s)

    def log(self) -> str:
        """What it has written."""
        return self._log.read_text(errors="replace")

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def stop(self) -> int:
        """Ask it to end, and wait for that; its exit code."""
        if self.running:
            self._process.terminate()
        return self.wait(_STOP_S)

    def close(self) -> None:
        """End it, by force if it does not hear."""
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_STOP_S)


def run(rootfs: Rootfs, asked: Asked, folder: Path, *, limit_s: float = 60.0) -> tuple[int, str]:
    """Run a container to its end; its exit code and what it wrote."""
    container = Container(rootfs, asked, folder / f"container-{secrets.token_hex(4)}")
    try:
        code = container.wait(limit_s)
    except subprocess.TimeoutExpired:
        container.close()
        raise AssertionError(f"{container.told} did not end within {limit_s} s:\n{container.log()[-4000:]}") from None
    return code, container.log()
