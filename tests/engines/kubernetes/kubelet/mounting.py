"""Volumes where a manifest mounts them: by a mount namespace per container, on systems that give one.

A path that is not there, such as `/etc/kafka`, is made in an overlay of the folder above it, which only the container
sees. What cannot be mounted (right below `/`, or over what we run from) is found by its rewritten path alone.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_PROBE_LIMIT_S = 20
_ROOT = Path(__file__).parents[4]


@dataclass(frozen=True)
class Mount:
    """A volume, or a part of it, and where a container has it."""

    source: Path
    path: str


class Mounter:
    """Puts mounts around command lines. enter: what enters a new namespace; empty where there is none."""

    def __init__(self, enter: Sequence[str]) -> None:
        self._enter = tuple(enter)

    @classmethod
    def probe(cls) -> Mounter:
        """What this system gives us: root needs nothing, others a user namespace."""
        unshare = shutil.which("unshare")
        if unshare is None or sys.platform != "linux":
            return cls(())
        own = ["--user", "--map-root-user"] if os.geteuid() else []
        found = cls([unshare, *own, "--mount", "--"])
        with tempfile.TemporaryDirectory(prefix="probing-mounts-") as folder:
            mounts = [Mount(Path(folder), "/etc/streamforge-probe")]
            command = found.around(["true"], mounts, Path(folder) / "scratch")
            try:
                works = subprocess.run(command, capture_output=True, timeout=_PROBE_LIMIT_S).returncode == 0
            except (OSError, subprocess.TimeoutExpired):
                works = False
        return found if works else cls(())

    def around(self, command: Sequence[str], mounts: Sequence[Mount], scratch: Path) -> list[str]:
        """`command` with everything mounted that can be. scratch: a folder for what lies over others."""
        lines = self._lines(mounts, scratch) if self._enter else []
        if not lines:
            return list(command)
        script = "\n".join(["set -e", *lines, 'exec "$@"'])
        return [*self._enter, "sh", "-c", script, "sh", *command]

    def _lines(self, mounts: Sequence[Mount], scratch: Path) -> list[str]:
        found = sorted(((Path(os.path.realpath(mount.path)), mount.source) for mount in mounts), key=_depth)
        overlays, binds, made = list[str](), list[str](), list[Path]()
        for path, source in found:
            if not path.exists() and not any(path.is_relative_to(other) for other in made):
                above = next(folder for folder in path.parents if folder.is_dir())
                if _is_ours(above, scratch):
                    continue
                overlays.append(_overlay(above, scratch / str(len(overlays))))
                made.append(above)
            if not _is_ours(path, scratch):
                binds += _bind(source, path)
                made.append(path)
        # Overlays first: one that comes later would hide what is mounted below it.
        return [*overlays, *binds]


def _depth(mount: tuple[Path, Path]) -> int:
    return len(mount[0].parts)


def _overlay(above: Path, scratch: Path) -> str:
    """What makes `above` a folder in which more can be made."""
    upper, work = scratch / "upper", scratch / "work"
    upper.mkdir(parents=True)
    work.mkdir()
    options = f"lowerdir={above},upperdir={upper},workdir={work}"
    return f"mount -t overlay overlay -o {shlex.quote(options)} {shlex.quote(str(above))}"


def _bind(source: Path, path: Path) -> list[str]:
    target = shlex.quote(str(path))
    make = f"mkdir -p {target}"
    if source.is_file():
        make = f"mkdir -p {shlex.quote(str(path.parent))}; [ -e {target} ] || : > {target}"
    return [make, f"mount --bind {shlex.quote(str(source))} {target}"]


def _is_ours(path: Path, scratch: Path) -> bool:
    """Whether something that we run from lies below: over that nothing is mounted."""
    places = [_ROOT, scratch, Path(sys.prefix), Path(sys.base_prefix), Path(tempfile.gettempdir())]
    return path == Path("/") or any(place.is_relative_to(path) for place in places)
