"""Builds every image from its Dockerfile, with an inventory (CycloneDX) of each beside it, and pushes them if asked to.

The builder is one command: buildah, podman or docker. The times in an image are those of the commit, so that one
commit gives the same image again, as far as the packages of its base are the same.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tools import sbom

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "build" / "images"
REGISTRY = "registry.dmz.home"
JUPYTER_VERSION = "v0.0.2"
"""JupyterHub's values name the image by it. Each release pushes its own library under it: servers pull it again."""
BUILDERS = ("buildah", "podman", "docker")
OPTIONS = "STREAMFORGE_BUILD_OPTIONS"
"""More options for each build, as a shell would split them: a network, a mount with the settings of pip."""
_LIMIT_S = 3600.0


class ImageError(Exception):
    """An image cannot be built or pushed; the message says which, and what to do."""


@dataclass(frozen=True)
class Image:
    """An image and where it comes from.

    repository: its name below the registry; version: its tag; suffix: behind each of its tags; target: the stage of the
    Dockerfile; on: which images it is built with, by build argument.
    """

    name: str
    dockerfile: str
    repository: str
    version: str
    suffix: str = ""
    target: str = ""
    on: Mapping[str, str] = field(default_factory=dict)

    def reference(self, registry: str, tag: str = "") -> str:
        """Its full name, by default with the tag of its version."""
        return f"{registry}/{self.repository}:{tag or self.version}{self.suffix}"


def version() -> str:
    """The version of the packages, as a tag."""
    return "v" + str(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"])


def images(*, lean: bool = False) -> list[Image]:
    """Every image, each after those that it is built with. lean: services run on the base without test tools."""
    now = version()
    base = "kinga/stream-forge/base"
    found = [
        Image("base", "platform/Dockerfile", base, now, target="full"),
        Image("base-lean", "platform/Dockerfile", base, now, suffix="-lean", target="lean"),
    ]
    service = {"BASE_IMAGE": "base-lean" if lean else "base", "TOOLS_IMAGE": "base"}
    tools = {"BASE_IMAGE": "base-lean", "TOOLS_IMAGE": "base"}
    for path in sorted(ROOT.glob("services/*/Dockerfile")):
        name = path.parent.name
        found.append(Image(name, f"services/{name}/Dockerfile", f"streamforge/{name}", now, on=service))
    for name, repository, tag in (
        ("debug", "debug", now),
        ("jupyter", "jupyter-python311", JUPYTER_VERSION),
    ):
        dockerfile = f"platform/{name}/Dockerfile"
        if (ROOT / dockerfile).exists():
            found.append(Image(name, dockerfile, f"streamforge/core-modules/{repository}", tag, on=tools))
    return found


@dataclass(frozen=True)
class Commit:
    """What is built. created: its time, unix seconds."""

    revision: str
    created: int

    @property
    def tag(self) -> str:
        """The tag of an image that was built from it."""
        return self.revision[:8]

    @classmethod
    def current(cls) -> Commit:
        """The one that is checked out. Raises ImageError where that cannot be told."""
        try:
            told = _run(["git", "log", "-1", "--format=%H %ct"], limit_s=30).split()
        except ImageError as error:
            raise ImageError(f"{error}\nname what is built: --revision COMMIT --created UNIX_SECONDS") from error
        return cls(told[0], int(told[1]))


@dataclass(frozen=True)
class Plan:
    """How images are built. output: the folder of inventories and digests.

    debian: what the base is built on, by default what its Dockerfile names. arguments: build arguments of every image;
    options: of every build.
    """

    builder: str
    registry: str
    commit: Commit
    output: Path = OUTPUT
    debian: str = ""
    arguments: Sequence[str] = ()
    options: Sequence[str] = ()

    def tags(self, image: Image) -> list[str]:
        """The names that it gets: version and commit, and of the base `latest`."""
        more = ["latest"] if image.name == "base" else []
        return [image.reference(self.registry, tag) for tag in (image.version, self.commit.tag, *more)]

    def build(self, image: Image, others: Mapping[str, Image]) -> list[str]:
        """The command that builds it."""
        created = datetime.fromtimestamp(self.commit.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        values = [
            f"VERSION={image.version.removeprefix('v')}",
            f"REVISION={self.commit.revision}",
            f"CREATED={created}",
        ]
        values += [f"{name}={others[on].reference(self.registry)}" for name, on in image.on.items()]
        if not image.on and self.debian:
            values.append(f"BASE_IMAGE={self.debian}")
        command = [self.builder, "build", "--file", image.dockerfile]
        if self.builder != "docker":  # which takes it from SOURCE_DATE_EPOCH, and keeps layers anyway
            command += ["--layers", "--timestamp", str(self.commit.created)]
        if image.target:
            command += ["--target", image.target]
        for value in [*values, *self.arguments]:
            command += ["--build-arg", value]
        for tag in self.tags(image):
            command += ["--tag", tag]
        return [*command, *self.options, "."]


def _run(command: Sequence[str], *, limit_s: float = _LIMIT_S, show: bool = False, more: Mapping[str, str] = {}) -> str:
    """What a command prints. show: on our own output instead. Raises ImageError."""
    told = f"{shlex.join(command[:2])} …"
    try:
        done = subprocess.run(
            list(command),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=None if show else subprocess.PIPE,
            stderr=None if show else subprocess.PIPE,
            text=True,
            timeout=limit_s,
            env={**os.environ, **more},
            check=False,
        )
    except FileNotFoundError as error:
        raise ImageError(f"{command[0]} is not on PATH: install it, or name another builder") from error
    except subprocess.TimeoutExpired as error:
        raise ImageError(f"{told} took longer than {limit_s:.0f} s") from error
    if done.returncode != 0:
        raise ImageError(f"{told} failed with {done.returncode}: {(done.stderr or '(see above)').strip()[-2000:]}")
    return done.stdout or ""


def look_inside(builder: str, reference: str, created: int) -> str:
    """What the inventory script prints in a container of the image. Raises ImageError."""
    script = ["-I", "-c", sbom.INVENTORY, reference, str(created)]
    if builder != "buildah":
        flags = ["--rm", "--network", "none", "--entrypoint", "python3.11"]
        return _run([builder, "run", *flags, reference, *script], limit_s=300)
    name = _run([builder, "from", "--pull-never", reference], limit_s=300).strip()
    try:
        return _run([builder, "run", name, "--", "python3.11", *script], limit_s=300)
    finally:
        _run([builder, "rm", name], limit_s=300)


def push(plan: Plan, image: Image) -> str:
    """Push all its tags; the reference with its digest. Raises ImageError."""
    digest = ""
    for tag in plan.tags(image):
        if plan.builder == "docker":
            _run([plan.builder, "push", tag], show=True)
            told = _run([plan.builder, "image", "inspect", "--format", "{{index .RepoDigests 0}}", tag])
            digest = told.strip().rpartition("@")[2]
        else:
            file = plan.output / f"{image.name}.digest"
            _run([plan.builder, "push", "--digestfile", str(file), tag], show=True)
            digest = file.read_text("utf-8").strip()
            file.unlink()
    return f"{plan.registry}/{image.repository}@{digest}"


def build(plan: Plan, wanted: Sequence[Image], everything: Sequence[Image], *, pushing: bool) -> Iterator[str]:
    """Build the images in their order; yields a line about each. Raises ImageError."""
    others = {image.name: image for image in everything}
    plan.output.mkdir(parents=True, exist_ok=True)
    for image in wanted:
        _run(plan.build(image, others), show=True, more={"SOURCE_DATE_EPOCH": str(plan.commit.created)})
        reference = image.reference(plan.registry)
        try:
            bom = sbom.checked(look_inside(plan.builder, reference, plan.commit.created))
        except sbom.InventoryError as error:
            raise ImageError(f"{reference}: {error}") from error
        (plan.output / f"{image.name}.cdx.json").write_text(bom, "utf-8")
        pushed = push(plan, image) if pushing else None
        told = {"tags": plan.tags(image), "revision": plan.commit.revision, "pushed": pushed}
        (plan.output / f"{image.name}.json").write_text(json.dumps(told, indent=2) + "\n", "utf-8")
        yield pushed or reference


def _builder(named: str) -> str:
    if named:
        return named
    for name in BUILDERS:
        if shutil.which(name):
            return name
    raise ImageError(f"none of {', '.join(BUILDERS)} is on PATH: install one")


def parser() -> argparse.ArgumentParser:
    """What can be asked for."""
    found = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    found.add_argument("only", nargs="*", metavar="NAME", help="these images alone (default: all of them)")
    found.add_argument("--builder", default="", choices=("", *BUILDERS), help="default: the first that is there")
    found.add_argument("--registry", default=REGISTRY, help=f"where images are called from ({REGISTRY})")
    found.add_argument("--debian", default="", help="the image that the base is built on (default: the Dockerfile's)")
    found.add_argument("--lean", action="store_true", help="services run on the base image without test tools")
    found.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE", help="for every build")
    found.add_argument("--revision", default="", help="the commit that is built (default: what git says)")
    found.add_argument("--created", type=int, default=0, help="its time, unix seconds (with --revision)")
    found.add_argument("--output", type=Path, default=OUTPUT, help="the folder of inventories (build/images)")
    found.add_argument("--push", action="store_true", help="push each image, and write down its digest")
    found.add_argument("--list", action="store_true", help="only tell the images and their tags")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Build; returns the exit code."""
    found = parser()
    given = found.parse_args(arguments)
    everything = images(lean=given.lean)
    unknown = set(given.only) - {image.name for image in everything}
    if unknown:
        known = ", ".join(image.name for image in everything)
        found.error(f"no image is called {', '.join(sorted(unknown))}; there are {known}")
    wanted = [image for image in everything if not given.only or image.name in given.only]
    try:
        commit = Commit(given.revision, given.created) if given.revision else Commit.current()
        plan = Plan(
            builder=given.builder or (BUILDERS[0] if given.list else _builder("")),
            registry=given.registry,
            commit=commit,
            output=given.output.absolute(),
            debian=given.debian,
            arguments=given.build_arg,
            options=shlex.split(os.environ.get(OPTIONS, "")),
        )
        if given.list:
            for image in wanted:
                print(f"{image.name}: {' '.join(plan.tags(image))}")
            return 0
        for told in build(plan, wanted, everything, pushing=given.push):
            print(f"images: {told}", flush=True)
    except ImageError as error:
        print(f"images: {error}", file=sys.stderr)
        return 1
    print(f"images: {len(wanted)} built with {plan.builder}; inventories in {plan.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
