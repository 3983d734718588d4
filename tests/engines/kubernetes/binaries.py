"""Builds the control plane once from its Go module, into a cache outside the checkout, keyed by go.mod and go.sum."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.engines.process import EngineError, cache_folder, fetching

_HERE = Path(__file__).parent
COMMANDS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
BUILD_LIMIT_S = 3600.0
_TELL_S = 30.0
# Part of the key: what is built with other flags is something else.
FLAGS = ("-trimpath", "-p", "2", "-gcflags=all=-dwarf=false")
_VERSION = "k8s.io/component-base/version"


def version() -> str:
    """The Kubernetes version that go.mod names, such as `v1.37.2`."""
    found = re.search(r"^\s*k8s\.io/kubernetes (v\S+)", (_HERE / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise EngineError(f"{_HERE / 'go.mod'} does not require k8s.io/kubernetes")
    return found[1]


def etcd() -> str:
    """The path of etcd. Raises EngineError."""
    found = shutil.which("etcd")
    if found is None:
        raise EngineError("there is no etcd on PATH: install it (etcd-server; tools/install_engines.sh does)")
    return found


def folder(commands: Sequence[str] = COMMANDS) -> Path:
    """Where these commands are once they were built; some of them have a folder of their own."""
    parts = [(_HERE / name).read_bytes() for name in ("go.mod", "go.sum")]
    key = hashlib.sha256(b"\0".join([*parts, " ".join(FLAGS).encode()])).hexdigest()[:16]
    name = "kubernetes" if tuple(commands) == COMMANDS else "-".join(commands)
    return cache_folder() / f"{name}-{key}"


def built(command: str) -> Path | None:
    """The command, if it was built, alone or with the others."""
    found = [place / command for place in (folder(), folder([command])) if place.is_dir()]
    return found[0] if found else None


def build(tell: Callable[[str], None] | None = None, commands: Sequence[str] = COMMANDS) -> Path:
    """Build these commands if they have not been; their folder. tell: hears how far that is (stderr by default).

    Several processes may ask at once: one builds, the others wait for it. Raises EngineError.
    """
    if folder().is_dir():  # all of them
        return folder()
    wanted = folder(commands)
    with fetching(wanted) as ours:
        if ours:
            _build(wanted, commands, tell or _tell)
    return wanted


def _build(folder: Path, commands: Sequence[str], tell: Callable[[str], None]) -> None:
    number = version()
    major, minor = number.removeprefix("v").split(".")[:2]
    names = {"gitVersion": number, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    stamps = " ".join(f"-X {_VERSION}.{name}={value}" for name, value in names.items())
    what = f"Kubernetes {number}" if tuple(commands) == COMMANDS else f"{', '.join(commands)} of Kubernetes {number}"
    tell(f"building {what} once, in {folder}: this takes minutes (two cores: about ten for all of it)")
    build_go(folder, _HERE, [f"k8s.io/kubernetes/cmd/{command}" for command in commands], stamps, tell)


def build_go(
    folder: Path, module: Path, packages: Sequence[str], stamps: str, tell: Callable[[str], None] | None = None
) -> None:
    """Build packages of a Go module into `folder`, which is there once all are built. Raises EngineError.

    stamps: what the linker writes into the programs. tell: hears how far that is.
    """
    go = shutil.which("go")
    if go is None:
        raise EngineError(f"there is no go on PATH, and {packages[0]} has not been built yet: install Go 1.26")
    # What was compiled stays until all is done, so that a build that was cut short goes on where it was.
    compiled, scratch = folder.with_name(f"{folder.name}.compiled"), folder.with_name(f"{folder.name}.building")
    # More memory, less time: the compiler collects its garbage later.
    environment = {**os.environ, "GOCACHE": str(compiled), "GOGC": "400", "GOWORK": "off", "CGO_ENABLED": "0"}
    began = time.monotonic()
    # One that was killed could not remove it; nobody else builds this.
    shutil.rmtree(scratch, ignore_errors=True)
    for package in packages:
        name = package.rpartition("/")[2]
        arguments = [go, "build", *FLAGS, "-ldflags", f"-s -w {stamps}", "-o", f"{scratch}/", package]
        _run(arguments, module, environment, name, tell or _tell)
        (tell or _tell)(f"{name} is built, {time.monotonic() - began:.0f} s after the start")
    shutil.rmtree(compiled, ignore_errors=True)
    scratch.rename(folder)


def _run(command: list[str], module: Path, environment: dict[str, str], name: str, tell: Callable[[str], None]) -> None:
    began = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, cwd=module, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_TELL_S)
                passed = time.monotonic() - began
                if process.returncode is None and passed > BUILD_LIMIT_S:
                    raise EngineError(f"{name} was not built within {BUILD_LIMIT_S:.0f} s")
                if process.returncode is None:
                    tell(f"building {name}, {passed:.0f} s so far")
        finally:
            if process.poll() is None:
                # Go ends its compilers with it.
                process.terminate()
                process.wait(30)
        output.seek(0)
        if process.returncode != 0:
            told = output.read().decode(errors="replace")
            raise EngineError(f"{name} could not be built (go build ended with {process.returncode}):\n{told[-3000:]}")


def _tell(text: str) -> None:
    print(f"engines: {text}", file=sys.stderr, flush=True)
