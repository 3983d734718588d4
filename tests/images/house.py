"""Every image, built once for all tests by the command that people use (`make images`), with the seed's names."""

from __future__ import annotations

import re
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.images.container import Rootfs
from tests.images.storage import DEBIAN, Storage, build_options, run
from tests.places import ROOT
from tools import images

REVISION, CREATED = "0123456789abcdef0123456789abcdef01234567", 1_750_000_000


class House:
    """Images in a storage of their own."""

    def __init__(self) -> None:
        # Beside the other temporary files, but not below a test's folder: pytest keeps those.
        self.storage = Storage(Path(tempfile.mkdtemp(prefix="streamforge-images-")))
        self.options = build_options(self.storage.folder)
        self._roots: dict[str, Rootfs] = {}
        self.seconds: dict[str, float] = {}
        self._timed("Debian 12", self.storage.add_debian)

    def _timed(self, name: str, work: object) -> None:
        began = time.monotonic()
        assert callable(work)
        work()
        self.seconds[name] = time.monotonic() - began

    def build(self, *names: str, more: Sequence[str] = (), root: Path = ROOT) -> str:
        """Build images as `make images` does; what that printed. root: another checkout."""
        command = [sys.executable, "-m", "tools.images", "--builder", "buildah", "--debian", DEBIAN]
        command += ["--revision", REVISION, "--created", str(CREATED), *more, *names]
        environment = {**self.storage.environment, images.OPTIONS: shlex.join([*self.options, "--pull-never"])}
        began = time.monotonic()
        told = run(["env", f"--chdir={root}", *command], environment=environment)
        self.seconds[", ".join(names)] = time.monotonic() - began
        return told

    def reference(self, name: str) -> str:
        """The full name of an image, with the tag of its version."""
        found = next(image for image in images.images() if image.name == name)
        return found.reference(images.REGISTRY)

    def root(self, name: str) -> Rootfs:
        """An image that can be started."""
        if name not in self._roots:
            self._roots[name] = Rootfs.of(self.storage, self.reference(name))
        return self._roots[name]

    def close(self) -> None:
        """Remove everything."""
        self.storage.close()


def cached(told: str) -> int:
    """How many steps of a build were taken from before."""
    return len(re.findall(r"Using cache", told))
