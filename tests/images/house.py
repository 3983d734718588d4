"""Every image, built once for all tests by the command that people use (`make images`), with the seed's names."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from tests.engines.crun import Rootfs
from tests.images import programs
from tests.images.storage import DEBIAN, Storage, build_options, run
from tests.places import ROOT
from tools import images

REVISION, CREATED = "0123456789abcdef0123456789abcdef01234567", 1_750_000_000
KEPT = "STREAMFORGE_IMAGES_DIR"
"""A folder for the images that is not removed in the end: the next run takes from it what has not changed."""
T = TypeVar("T")
KUBECTL, HELM = "localhost/kubectl:test", "localhost/helm:test"
"""What stands for the public images of these programs."""


class House:
    """Images in a storage of their own."""

    def __init__(self) -> None:
        kept = os.environ.get(KEPT)
        # Beside the other temporary files, but not below a test's folder: pytest keeps those.
        folder = Path(kept) if kept else Path(tempfile.mkdtemp(prefix="streamforge-images-"))
        self.storage = Storage(folder, keep=bool(kept))
        self.options = build_options(self.storage.folder)
        self.seconds: dict[str, float] = {}
        self._roots: dict[str, Rootfs] = {}

    def build_all(self) -> None:
        """Build what `make images` builds, helm meanwhile."""
        with ThreadPoolExecutor(1) as beside:
            helm = beside.submit(programs.helm)
            self._timed("Debian 12", self.storage.add_debian)
            self.build("base", "base-lean")
            kubectl = programs.kubectl()
            self.storage.add_root(KUBECTL, kubectl, "/bin/kubectl")
            self._timed("waiting for helm", helm.result)
            self.storage.add_root(HELM, helm.result(), "/usr/bin/helm")
        self.build(*(image.name for image in images.images() if image.on))
        for name, seconds in self.seconds.items():
            print(f"images: {name}: {seconds:.1f} s")

    def build(
        self,
        *names: str,
        root: Path = ROOT,
        registry: str = images.REGISTRY,
        options: Sequence[str] = (),
        more: Sequence[str] = (),
        variables: Mapping[str, str] = {},
    ) -> str:
        """Build images as `make images` does; what that printed.

        root: another checkout; options: of the builder; more: of the command; variables: of its environment.
        """
        command = [sys.executable, "-m", "tools.images", "--builder", "buildah", "--debian", DEBIAN]
        command += ["--revision", REVISION, "--created", str(CREATED), "--output", str(self.beside(registry))]
        command += ["--registry", registry, *more]
        command += ["--build-arg", f"KUBECTL_IMAGE={KUBECTL}", "--build-arg", f"HELM_IMAGE={HELM}", *names]
        builds = shlex.join([*self.options, "--pull-never", *options])
        environment = {**self.storage.environment, **variables, images.OPTIONS: builds}
        return self._timed(
            ", ".join(names), lambda: run(["env", f"--chdir={root}", *command], environment=environment, limit_s=900)
        )

    def _timed(self, name: str, work: Callable[[], T]) -> T:
        began = time.monotonic()
        found = work()
        self.seconds[name] = time.monotonic() - began
        return found

    def reference(self, name: str, registry: str = images.REGISTRY) -> str:
        """The full name of an image, with the tag of its version."""
        found = next(image for image in images.images() if image.name == name)
        return found.reference(registry)

    def beside(self, registry: str = images.REGISTRY) -> Path:
        """The folder of inventories and digests."""
        return self.storage.folder / "beside" / registry

    def layers(self, name: str, registry: str = images.REGISTRY) -> list[str]:
        """The digests of an image's layers, the lowest first."""
        return self.storage.layers(self.reference(name, registry))

    def names(self) -> list[str]:
        """What the images are called."""
        return [image.name for image in images.images()]

    def root(self, name: str) -> Rootfs:
        """An image that can be started."""
        if name not in self._roots:
            reference = self.reference(name)
            self._roots[name] = Rootfs(str(self.storage.mount(reference)), self.storage.inspect(reference)["config"])
        return self._roots[name]

    def roots(self) -> dict[str, Rootfs]:
        """All of them, by full name."""
        return {self.reference(image.name): self.root(image.name) for image in images.images()}

    def close(self) -> None:
        """Remove everything."""
        self.storage.close()
