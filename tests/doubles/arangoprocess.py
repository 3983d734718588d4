"""The double of ArangoDB as a process of its own: started, made to fail, killed, and started again with its data."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.engines.ports import free_ports
from tests.limits import LIMIT_S
from tests.places import ROOT

START_S = LIMIT_S
DATABASE = "streamforge"
PASSWORD = "the-double's-password"


class ArangoProcess:
    """A double on loopback. folder: where it keeps its data. It has the database `DATABASE`."""

    def __init__(self, folder: Path, *, version: str = "3.12.10", arguments: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self._arguments = ("--data", str(folder / "arangodb.db"), "--version", version, *arguments)
        self._process: subprocess.Popen[str] | None = None
        (self._port,) = free_ports(1)  # which nobody takes while it is down
        self.url = ""
        folder.mkdir(parents=True, exist_ok=True)
        self.start()
        self.ask("POST", "/_api/database", {"name": DATABASE})

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, on the same port as before; returns once it answers."""
        with (self.folder / "arangodb.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.doubles.arangodb", "--port", str(self._port), *self._arguments],
                cwd=ROOT,
                env=os.environ | {"ARANGO_ROOT_PASSWORD": PASSWORD},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], START_S)
        line = self._process.stdout.readline().strip() if ready else ""
        if not line.startswith("http"):
            self.kill()
            raise AssertionError(f"the double did not start: {(self.folder / 'arangodb.log').read_text()[-2000:]}")
        self.url = line

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(LIMIT_S)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def restart(self) -> None:
        """Kill it and start it again."""
        self.kill()
        self.start()

    def close(self) -> None:
        """End it, if it still runs."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def environment(self) -> dict[str, str]:
        """What a service is started with to use it."""
        return {
            "ARANGO_URL": self.url,
            "ARANGO_DB": DATABASE,
            "ARANGO_USER": "root",
            "ARANGO_PASSWORD": PASSWORD,
        }

    def fail(self, kind: str, **how: Any) -> None:
        """Let it misbehave, see `tests.doubles.arangodb.misbehaviour`."""
        self.ask("POST", "/_double/faults", {"kind": kind, **how})

    def behave(self) -> None:
        """No more faults."""
        self.ask("DELETE", "/_double/faults")

    def faults(self) -> Any:
        """What is set and what was counted."""
        return self.ask("GET", "/_double/faults")

    def hits(self, kind: str) -> int:
        """How often faults of a kind have struck."""
        return int(self.faults()["hits"].get(kind, 0))

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """An answer of its, as root; errors are answers too."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": _basic("root", PASSWORD), "Content-Type": "application/json"},
        )
        for _ in range(50):
            try:
                with urllib.request.urlopen(request, timeout=LIMIT_S) as response:
                    return json.loads(response.read() or b"null")
            except urllib.error.HTTPError as error:
                return json.loads(error.read() or b"null")
            except OSError:
                time.sleep(0.05)
        raise AssertionError(f"the double at {self.url} does not answer")


def _basic(user: str, password: str) -> str:
    import base64

    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@contextmanager
def running(folder: Path, *, version: str = "3.12.10", arguments: tuple[str, ...] = ()) -> Iterator[ArangoProcess]:
    """A double until the end of the block."""
    found = ArangoProcess(folder, version=version, arguments=arguments)
    try:
        yield found
    finally:
        found.close()
