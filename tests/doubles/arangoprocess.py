"""The double of ArangoDB as a process of its own: started, made to fail, killed, and started again with its data."""

from __future__ import annotations

import base64
import json
import os
import select
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.engines.process import free_ports
from tests.limits import LIMIT_S
from tests.places import ROOT

DATABASE = "streamforge"
PASSWORD = "the-double's-password"


def ask(server: Mapping[str, str], method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Status and JSON of an answer of the server that the variables name. Raises OSError without one."""
    who = f"{server.get('ARANGO_USER', '')}:{server.get('ARANGO_PASSWORD', '')}"
    headers = {"Authorization": "Basic " + base64.b64encode(who.encode()).decode(), "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(server["ARANGO_URL"] + path, method=method, data=data, headers=headers)
    ca = server.get("STREAMFORGE_ARANGO_CA_PATH")
    trusted = ssl.create_default_context(cafile=ca) if server["ARANGO_URL"].startswith("https") else None
    try:
        with urllib.request.urlopen(request, timeout=LIMIT_S, context=trusted) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


class ArangoProcess:
    """A double on loopback. folder: where it keeps its data. It has the database `DATABASE`.

    certificate, ca: PEM files with what it speaks TLS with, and with what signed that.
    """

    def __init__(
        self, folder: Path, *, version: str = "3.12.10", certificate: Path | None = None, ca: Path | None = None
    ) -> None:
        self.folder = folder
        (port,) = free_ports(1)  # which nobody takes while it is down
        self._arguments = ["--port", str(port), "--data", str(folder / "arangodb.db"), "--version", version]
        self._arguments += [] if certificate is None else ["--certificate", str(certificate)]
        self._trusted = {} if ca is None else {"STREAMFORGE_ARANGO_CA_PATH": str(ca)}
        self._process: subprocess.Popen[str] | None = None
        self.url = ""
        folder.mkdir(parents=True, exist_ok=True)
        self.start()
        self.ask("POST", "/_api/database", {"name": DATABASE})

    def start(self) -> None:
        """Start it, on the same port as before; returns once it answers."""
        with (self.folder / "arangodb.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.doubles.arangodb", *self._arguments],
                cwd=ROOT,
                env=os.environ | {"ARANGO_ROOT_PASSWORD": PASSWORD},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], LIMIT_S)
        self.url = self._process.stdout.readline().strip() if ready else ""
        if not self.url.startswith("http"):
            self.kill()
            raise AssertionError(f"the double did not start: {(self.folder / 'arangodb.log').read_text()[-2000:]}")

    def kill(self) -> None:
        """End it at once (SIGKILL), if it still runs."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(LIMIT_S)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def restart(self) -> None:
        """Kill it and start it again."""
        self.kill()
        self.start()

    def environment(self) -> dict[str, str]:
        """What a service is started with to use it."""
        who = {"ARANGO_USER": "root", "ARANGO_PASSWORD": PASSWORD}
        return {"ARANGO_URL": self.url, "ARANGO_DB": DATABASE} | who | self._trusted

    def fail(self, kind: str, **how: Any) -> None:
        """Let it misbehave, see `tests.doubles.arangodb.misbehaviour`."""
        self.ask("POST", "/_double/faults", {"kind": kind, **how})

    def behave(self) -> None:
        """No more faults."""
        self.ask("DELETE", "/_double/faults")

    def hits(self, kind: str) -> int:
        """How often faults of a kind have struck."""
        return int(self.ask("GET", "/_double/faults")["hits"].get(kind, 0))

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """An answer of its, as root; errors are answers too."""
        for _ in range(50):
            try:
                return ask(self.environment(), method, path, body)[1]
            except OSError:
                time.sleep(0.05)
        raise AssertionError(f"the double at {self.url} does not answer")


@contextmanager
def running(
    folder: Path, *, version: str = "3.12.10", certificate: Path | None = None, ca: Path | None = None
) -> Iterator[ArangoProcess]:
    """A double until the end of the block."""
    found = ArangoProcess(folder, version=version, certificate=certificate, ca=ca)
    try:
        yield found
    finally:
        found.kill()
