"""Writes every shipped manifest into build/manifests/, one file each, ready for `kubectl apply -f`.

What lies in one of FOLDERS is shipped: a folder with a kustomization.yaml as what kustomize makes of it (kubectl has
one, or it is there by itself), every other manifest as it is. The output is made again each time, so that nothing stays
in it that is no longer shipped.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.engines.kubernetes import binaries

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "build" / "manifests"
OVERLAYS = "deploy/overlays"
FOLDERS = (
    "deploy/cluster",
    OVERLAYS,
    "cred-kafka-yaml",
    "docs",
    "platform",
    "services",
)
"""Where manifests lie, one line each; a folder that is not there is passed over, and so is other YAML beside them."""
_KUSTOMIZATION = "kustomization.yaml"
_LIMIT_S = 60.0

Json = dict[str, Any]


class ManifestError(Exception):
    """A manifest cannot be written; the message says which, and what to do."""


def builder() -> list[str]:
    """The command that, with a folder behind it, prints what kustomize makes of the folder. Raises ManifestError.

    The kubectl that was built for the tests goes first: it is the same on every machine.
    """
    if built := binaries.built("kubectl"):
        return [str(built), "kustomize"]
    if kubectl := shutil.which("kubectl"):
        return [kubectl, "kustomize"]
    if kustomize := shutil.which("kustomize"):
        return [kustomize, "build"]
    raise ManifestError(
        "kustomize is missing: put kubectl 1.27 or newer, or kustomize 5, on PATH, "
        "or have `make kube-build ONLY=kubectl` build one"
    )


def overlays(root: Path = ROOT) -> list[str]:
    """The names of queue-manager's overlays."""
    return [folder.name for folder in kustomizations(root) if folder.parent == root / OVERLAYS]


def kustomizations(root: Path = ROOT) -> list[Path]:
    """The folders that kustomize builds; what lies deeper in one of them is its part."""
    found = sorted(path.parent for folder in FOLDERS for path in (root / folder).rglob(_KUSTOMIZATION))
    return [folder for folder in found if not any(outer in folder.parents for outer in found)]


def build(command: Sequence[str], folder: Path, root: Path = ROOT) -> str:
    """The objects of such a folder as YAML. Raises ManifestError with what kustomize says."""
    name = folder.relative_to(root).as_posix()
    try:
        done = subprocess.run([*command, name], cwd=root, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ManifestError(f"{name}: {error}") from error
    if done.returncode != 0:
        raise ManifestError(f"{name}: {' '.join(command)} says: {done.stderr.strip()[:2000]}")
    return done.stdout


def plain(root: Path = ROOT) -> Iterator[Path]:
    """The manifests that are shipped as they are. Raises ManifestError for a file that is no YAML."""
    built = kustomizations(root)
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.yaml")):
            if any(one in path.parents for one in built):
                continue
            found = objects(path.read_text("utf-8"), path.relative_to(root).as_posix())
            if found and all("apiVersion" in one and "kind" in one for one in found):
                yield path


def file_name(path: Path, root: Path = ROOT) -> str:
    """The file in build/manifests/ for a manifest, or for a folder that kustomize builds."""
    parts = path.relative_to(root).parts
    if path.parent == root / OVERLAYS:
        parts = ("deploy", path.name)
    return "-".join((*parts[:-1], f"{parts[-1].removesuffix('.yaml')}.yaml"))


def objects(text: str, source: str) -> list[Json]:
    """The documents of a YAML text that are mappings. source: what errors call it. Raises ManifestError."""
    try:
        return [found for found in yaml.safe_load_all(text) if isinstance(found, dict)]
    except yaml.YAMLError as error:
        raise ManifestError(f"{source}: it is no YAML: {error}") from error


def names(root: Path = ROOT) -> list[str]:
    """The files in build/manifests/, known before anything is built."""
    return [file_name(path, root) for path in (*kustomizations(root), *plain(root))]


def texts(command: Sequence[str], root: Path = ROOT) -> dict[str, str]:
    """Every shipped manifest by the name of its file in build/manifests/. Raises ManifestError."""
    found = {file_name(folder, root): build(command, folder, root) for folder in kustomizations(root)}
    for path in plain(root):
        found[file_name(path, root)] = path.read_text("utf-8")
    return found


def write(found: dict[str, str], output: Path) -> None:
    """Put `found` where `output` is, in one step."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".manifests-") as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        for name, text in found.items():
            (made / name).write_text(text, "utf-8")
        if output.exists():
            output.rename(Path(scratch) / "before")
        made.rename(output)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the manifests; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the folder to write (build/manifests)")
    output: Path = parser.parse_args(arguments).output.absolute()
    try:
        command = builder()
        found = texts(command)
        write(found, output)
    except ManifestError as error:
        print(f"manifests: {error}", file=sys.stderr)
        return 1
    for name, text in found.items():
        kinds = [str(one["kind"]) for one in objects(text, name)]
        print(f"{name}: {len(kinds)} objects ({', '.join(dict.fromkeys(kinds))})")
    print(f"manifests: {len(found)} files in {output} (built with {' '.join(command)})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
