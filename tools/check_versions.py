"""Fails when versions disagree: both packages, the changelog, the images that Dockerfiles and pipelines name, and
the pins against what the packages ask for.

It needs no network, so a dependency added without `make lock` is found by `make check`. With an argument, the tag of a
release, it also fails unless the packages have that version (`v0.1.0` is 0.1.0).
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)", re.MULTILINE)
BASE = re.compile(r"^ARG (?:BASE|TOOLS)_IMAGE=(?P<name>\S+/base:v(?P<version>[^-\s]+)\S*)", re.MULTILINE)
NAMED = {
    ".gitlab/ci-templates/Python-Service.gitlab-ci.yml": re.compile(r"/debug:v(?P<version>\S+)"),
    "docs/how-to/installation.md": re.compile(r"/streamforge_market_data-(?P<version>[^-*…]+)-py3"),
    "docs/how-to/ci-cd.md": re.compile(r"/python-service@v(?P<version>\S+)"),
}
"""Where else a version of ours is named, for others to use."""
NETWORKS = ("gnn", "pyg")
"""Extras that need torch, which has an environment of its own."""
RELEASE = re.compile(r"^## \[(?P<version>[^\]]+)\]", re.MULTILINE)


def load(path: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / path).read_text(encoding="utf-8"))


def pins(path: str) -> dict[str, str]:
    text = (ROOT / path).read_text(encoding="utf-8")
    return {canonicalize_name(match["name"]): match["version"] for match in PIN.finditer(text)}


def unpinned(requirements: list[str], lock: str, beside: str = "") -> list[str]:
    found = pins(lock) | (pins(beside) if beside else {})
    problems = []
    for requirement in map(Requirement, requirements):
        version = found.get(canonicalize_name(requirement.name))
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            problems.append(f"{lock} pins {version or 'nothing'} for {requirement}: run make lock")
    return problems


def problems(tag: str | None = None) -> list[str]:
    services = load("pyproject.toml")
    library = load("libs/streamforge_utils/pyproject.toml")
    version = services["project"]["version"]
    found = []
    if tag is not None and tag != f"v{version}":
        found.append(f"the release is tagged {tag}, the packages are {version}")
    if library["project"]["version"] != version:
        names = services["project"]["name"], library["project"]["name"]
        found.append(f"{names[0]} is {version}, {names[1]} is {library['project']['version']}")

    ours = f"{library['project']['name']}=={version}"
    runtime = [r for r in services["project"]["dependencies"] if r != ours]
    if len(runtime) == len(services["project"]["dependencies"]):
        found.append(f"pyproject.toml does not depend on {ours}")
    runtime += library["project"]["dependencies"]
    optional = services["project"]["optional-dependencies"]
    extras = [r for name, extra in optional.items() if name not in (*NETWORKS, "onnx") for r in extra]
    found += unpinned(runtime, "requirements/base.txt")
    found += unpinned(runtime + extras + services["dependency-groups"]["dev"], "requirements/dev.txt")
    found += unpinned([r for name in NETWORKS for r in optional[name]], "requirements/gnn.txt", "requirements/dev.txt")
    found += unpinned(optional["onnx"], "requirements/onnx.txt", "requirements/dev.txt")

    for path in sorted([*ROOT.glob("services/*/Dockerfile"), *ROOT.glob("platform/*/Dockerfile")]):
        for base in BASE.finditer(path.read_text(encoding="utf-8")):
            if base["version"] != version:
                found.append(f"{path.relative_to(ROOT)} builds on {base['name']}, the packages are {version}")

    for name, reference in NAMED.items():
        used = [match["version"] for match in reference.finditer((ROOT / name).read_text(encoding="utf-8"))]
        if used != [version]:
            found.append(f"{name} names version {', '.join(used) or 'none'}, the packages are {version}")

    newest = RELEASE.search((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    if newest is None or newest["version"] != version:
        found.append(f"CHANGELOG.md's newest entry is {newest and newest['version']}, the packages are {version}")
    return found


def main() -> int:
    found = problems(*sys.argv[1:2])
    for problem in found:
        print(f"versions: {problem}", file=sys.stderr)
    if not found:
        print("versions: packages, changelog and pins agree")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
