"""The servers of these benchmarks, each a process of its own: the double, and one that does nothing."""

from __future__ import annotations

import contextlib
import http.client
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from benchmarks.common.processes import ROOT, ended
from streamforge_utils.model.secret import Secret
from streamforge_utils.runtime.life.server_settings import ArangoSettings
from tests.cleanenv import environment

DATABASE = "bench"
_PASSWORD = "of-a-benchmark"  # noqa: S105 - of a server on loopback, for as long as it takes


class Server(msgspec.Struct, frozen=True):
    """A server that runs: how it is reached, and its process."""

    settings: ArangoSettings
    pid: int

    def cpu_s(self) -> float:
        """What its process has used of a core; 0 where the system does not tell (`/proc`)."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def responder(delay_s: float = 0.0) -> Iterator[Server]:
    """A server that does nothing."""
    command = [sys.executable, "-m", "benchmarks.arango.responder", "--delay", f"{delay_s:g}"]
    with _started(command) as (url, pid):
        yield Server(ArangoSettings(url=url, database=DATABASE), pid)


@contextmanager
def double() -> Iterator[Server]:
    """The double of ArangoDB, its data in memory."""
    with _started([sys.executable, "-m", "tests.doubles.arangodb"]) as (url, pid):
        settings = ArangoSettings(url=url, database=DATABASE, user="root", password=Secret(_PASSWORD))
        ask(
            msgspec.structs.replace(settings, database="_system"),
            "POST",
            "/database",
            b'{"name":"%b"}' % DATABASE.encode(),
        )
        yield Server(settings, pid)


def connected(settings: ArangoSettings) -> http.client.HTTPConnection:
    """A connection to a server."""
    parts = urlsplit(settings.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    connection.connect()
    return connection


def ask(settings: ArangoSettings, method: str, path: str, body: bytes | None = None) -> None:
    """Send one request. Raises RuntimeError if it is refused."""
    with contextlib.closing(connected(settings)) as connection:
        connection.request(method, f"/_db/{settings.database}/_api{path}", body, headers(settings))
        answer = connection.getresponse()
        said = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: HTTP {answer.status}: {said[:200]!r}")


def headers(settings: ArangoSettings) -> dict[str, str]:
    """What every request to a server says."""
    import base64

    password = "" if settings.password is None else settings.password.reveal()
    who = base64.b64encode(f"{settings.user}:{password}".encode()).decode()
    return {"Content-Type": "application/json", "Authorization": f"Basic {who}"}


@contextmanager
def _started(command: list[str]) -> Iterator[tuple[str, int]]:
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, cwd=ROOT, env=environment(ARANGO_ROOT_PASSWORD=_PASSWORD) | _path()
    )
    with ended(process):
        assert process.stdout is not None
        line = process.stdout.readline().decode().strip()
        if not line.startswith("http"):
            raise RuntimeError(f"{command[2]} did not start: exit code {process.wait(10)}")
        yield line, process.pid


def _path() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath)}
