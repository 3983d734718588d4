"""What stands for an image: the image itself, a service of this checkout, or nothing at all."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from streamforge.workers import targets
from tests.engines.crun import Rootfs

_ROOT = Path(__file__).parents[4]
# An image that does nothing until it is told to end, as the real one of that name: a thousand of them cost nothing.
PAUSE = "pause"
# An image whose entry point runs what it is given as arguments (platform/jupyterhub).
JUPYTER = "jupyter-python311"
# No registry has a version of this name.
MISSING_TAG = "missing"


@dataclass(frozen=True)
class Image:
    """An image that is there. command: its entry point; folder: where it starts. idle: it runs no process.

    rootfs: what it really is, if it is one.
    """

    name: str
    command: tuple[str, ...]
    folder: Path | None = None
    idle: bool = False
    rootfs: Rootfs | None = None


class ImageMissing(Exception):
    """The registry does not have it."""


def find(image: str, *, has_command: bool, real: Mapping[str, Rootfs] = {}) -> Image:
    """What `image` is. has_command: the container brings its own command, so any name will do. Raises ImageMissing.

    real: the images there are, by name; where there are any, there are no others.
    """
    if real:
        if image not in real:
            raise ImageMissing(f"{image}: not found")
        return Image(image, tuple(real[image].entrypoint), rootfs=real[image])
    path = image.partition("@")[0]
    name, _, tag = path.rpartition("/")[2].partition(":")
    if tag == MISSING_TAG:
        raise ImageMissing(f"{image}: not found")
    if name == PAUSE and not has_command:
        return Image(name, (), idle=True)
    if name == JUPYTER:
        return Image(name, ())
    folder = _ROOT / "services" / name
    where = folder if folder.is_dir() else None
    if name in targets():
        return Image(name, (sys.executable, "-m", "streamforge.workers", name), where)
    if where is not None:
        return Image(name, (sys.executable, "-m", "app.main"), where)
    if has_command:
        return Image(name, ())
    raise ImageMissing(f"{image}: not found")
