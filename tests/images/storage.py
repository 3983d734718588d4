"""A place of its own for images and containers, with a Debian to build them on; nothing of it outlives the tests.

The Debian is made from packages, since the public image cannot be had everywhere, and kept outside the checkout.
Packages come from where this machine has them: its settings of apt and pip are put into builds, not into images.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.engines.process import cache_folder, fetching

DEBIAN = "localhost/debian:12-slim"
"""What the public image of that name is called here."""
_SUITE = "bookworm"
_RECIPE = (
    "--variant=minbase",
    "--include=ca-certificates",
    # As in the public image: neither manuals nor translations.
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
)
_LIMIT_S = 600.0
_NEEDED = ("buildah", "crun", "mmdebstrap", "unshare")


class ImagesError(Exception):
    """Images cannot be built or started here; the message says what is missing or what went wrong."""


def check_machine() -> None:
    """Raise ImagesError where images cannot be built."""
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    if missing:
        raise ImagesError(f"missing: {', '.join(missing)}; tools/install_engines.sh installs them on a Debian")
    if os.geteuid():
        raise ImagesError("images are built by root: buildah mounts and changes roots")


def run(
    command: Sequence[str], *, limit_s: float = _LIMIT_S, environment: Mapping[str, str] | None = None, stdin: str = ""
) -> str:
    """What a command prints. Raises ImagesError with what it says."""
    done = subprocess.run(
        list(command), input=stdin, capture_output=True, text=True, timeout=limit_s, env=environment, check=False
    )
    if done.returncode != 0:
        raise ImagesError(
            f"{' '.join(command)[:500]} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-6000:]}"
        )
    return done.stdout


class Storage:
    """Images and containers in `folder`, which is removed in the end. keep: its images stay."""

    def __init__(self, folder: Path, *, keep: bool = False) -> None:
        check_machine()
        self.folder = folder
        self._keep = keep
        folder.mkdir(parents=True, exist_ok=True)
        self.driver = "overlay" if _overlay_works(folder) else "vfs"
        configuration = folder / "storage.conf"
        configuration.write_text(
            f'[storage]\ndriver = "{self.driver}"\ngraphroot = "{folder}/images"\nrunroot = "{folder}/containers"\n'
        )
        (folder / "tmp").mkdir(exist_ok=True)
        self.environment = {
            **os.environ,
            "BUILDAH_ISOLATION": "chroot",
            "CONTAINERS_STORAGE_CONF": str(configuration),
            "TMPDIR": str(folder / "tmp"),
        }
        self.environment.pop("STORAGE_DRIVER", None)
        self._containers: list[str] = []

    def buildah(self, *arguments: str, limit_s: float = _LIMIT_S) -> str:
        """What buildah prints. Raises ImagesError."""
        return run(["buildah", *arguments], limit_s=limit_s, environment=self.environment).strip()

    def add_debian(self) -> None:
        """Have `DEBIAN`, from its cached root."""
        self.add_root(DEBIAN, root_archive(), "/")

    def add_root(self, reference: str, source: Path, target: str) -> None:
        """Make an image of nothing but `source` at `target`, if there is none; an archive is unpacked there."""
        if self._keep and reference in self.buildah("images", "--format", "{{.Name}}:{{.Tag}}").split():
            return
        name = self.buildah("from", "scratch")
        self.buildah("add", "--quiet", name, str(source), target)
        self.buildah("commit", "--quiet", "--rm", "--timestamp", "0", name, reference)

    def inspect(self, reference: str) -> Any:
        """What an image says of itself, in the form of OCI."""
        return json.loads(self.buildah("inspect", "--type", "image", reference))["OCIv1"]

    def layers(self, reference: str) -> list[str]:
        """The digests of its layers, the lowest first."""
        return [str(found) for found in self.inspect(reference)["rootfs"]["diff_ids"]]

    def sizes(self, reference: str) -> dict[str, int]:
        """The bytes of its layers, by digest, the lowest first."""
        wanted = self.layers(reference)
        told = json.loads((self.folder / "images" / f"{self.driver}-layers" / "layers.json").read_text())
        known = {one["diff-digest"]: int(one.get("diff-size", 0)) for one in told if "diff-digest" in one}
        return {digest: known[digest] for digest in wanted}

    def mount(self, reference: str) -> Path:
        """Its file system, mounted until the end."""
        name = self.buildah("from", "--pull-never", reference)
        self._containers.append(name)
        return Path(self.buildah("mount", name))

    def close(self) -> None:
        """Remove everything."""
        self.buildah("umount", "--all")
        self.buildah("rm", "--all")
        if self._keep:
            return
        self.buildah("rmi", "--all", "--force")
        shutil.rmtree(self.folder)


def build_options(folder: Path) -> list[str]:
    """What a build needs of this machine to find its packages: the network, and pip's settings. folder: for files."""
    told = run([sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"], limit_s=60)
    settings = dict(line.split("=", 1) for line in told.splitlines() if "=" in line)
    values, mounts = {}, []
    for name, quoted in settings.items():
        key, value = name.rpartition(".")[2], quoted.strip("'\"")
        if key == "cert":
            mounts.append(f"{value}:/etc/pip-ca.pem:ro")
            value = "/etc/pip-ca.pem"
        if key == "find-links" and not value.startswith(("http:", "https:")):
            continue  # a folder of this machine
        values[key] = value
    file = folder / "pip.conf"
    file.write_text("[global]\n" + "".join(f"{key} = {value}\n" for key, value in sorted(values.items())))
    found = ["--network", "host"]
    for mount in [f"{file}:/etc/pip.conf:ro", *mounts]:
        found += ["--volume", mount]
    return found


def root_archive() -> Path:
    """A Debian 12 as an archive, made once from the packages of this machine's own sources. Raises ImagesError."""
    sources = _sources()
    key = hashlib.sha256("\0".join([_SUITE, *_RECIPE, *(path.read_text() for path in sources)]).encode()).hexdigest()
    wanted = cache_folder() / f"debian-{key[:16]}"
    with fetching(wanted) as ours:
        if ours:
            scratch = wanted.with_name(f"{wanted.name}.building")
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(parents=True)
            options = [*_RECIPE, *(f"--aptopt={line}" for line in _apt_options())]
            run(["mmdebstrap", *options, _SUITE, str(scratch / "root.tar"), *map(str, sources)])
            scratch.rename(wanted)
    return wanted / "root.tar"


def _sources() -> list[Path]:
    """The files that say where this machine has Debian 12 from; none: mmdebstrap knows a place."""
    folder = Path("/etc/apt")
    files = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]
    known = [path for path in files if path.suffix in (".list", ".sources") and path.is_file()]
    return [path for path in known if f"{_SUITE}-security" in path.read_text() or f" {_SUITE}\n" in path.read_text()]


def _apt_options() -> list[str]:
    """What this machine says of how packages are fetched, of a proxy or an archive whose dates are old."""
    told = run(["apt-config", "dump", "Acquire"], limit_s=60)
    wanted = ("Acquire::Check-", "Acquire::http::Proxy", "Acquire::https::Proxy")
    return [line for line in told.splitlines() if line.startswith(wanted)]


def _overlay_works(folder: Path) -> bool:
    """Whether file systems can be laid over each other here; copies of every layer take longer, and much room."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        names = [f"{scratch}/{name}" for name in ("lower", "upper", "work", "merged")]
        for name in names:
            os.mkdir(name)
        lower, upper, work, merged = names
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        probe = ["unshare", "--mount", "mount", "-t", "overlay", "overlay", "-o", options, merged]
        return subprocess.run(probe, capture_output=True, timeout=30, check=False).returncode == 0
