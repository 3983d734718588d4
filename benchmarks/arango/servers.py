"""The servers of these benchmarks, each a process of its own: the double, and one that does nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.common.processes import ROOT, ended, environment
from streamforge_utils.runtime.arango import ArangoSettings
from streamforge_utils.runtime.environment import Secret

DATABASE = "bench"
_PASSWORD = "of-a-benchmark"  # noqa: S105 - of a server on loopback, for as long as it takes


@contextmanager
def responder(delay_s: float = 0.0) -> Iterator[ArangoSettings]:
    """A server that does nothing."""
    command = [sys.executable, "-m", "benchmarks.arango.responder", "--delay", f"{delay_s:g}"]
    with _started(command) as url:
        yield ArangoSettings(url=url, database=DATABASE)


@contextmanager
def double() -> Iterator[ArangoSettings]:
    """The double of ArangoDB, its data in memory."""
    with _started([sys.executable, "-m", "tests.doubles.arangodb"]) as url:
        settings = ArangoSettings(url=url, database=DATABASE, user="root", password=Secret(_PASSWORD))
        request = urllib.request.Request(  # noqa: S310 - loopback
            f"{url}/_api/database",
            method="POST",
            data=json.dumps({"name": DATABASE}).encode(),
            headers=headers(settings),
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            answer.read()
        yield settings


def headers(settings: ArangoSettings) -> dict[str, str]:
    """What every request to a server says."""
    import base64

    password = "" if settings.password is None else settings.password.reveal()
    who = base64.b64encode(f"{settings.user}:{password}".encode()).decode()
    return {"Content-Type": "application/json", "Authorization": f"Basic {who}"}


@contextmanager
def _started(command: list[str]) -> Iterator[str]:
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, cwd=ROOT, env=environment(ARANGO_ROOT_PASSWORD=_PASSWORD) | _path()
    )
    with ended(process):
        assert process.stdout is not None
        line = process.stdout.readline().decode().strip()
        if not line.startswith("http"):
            raise RuntimeError(f"{command[2]} did not start: exit code {process.wait(10)}")
        yield line


def _path() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath)}
