"""The server that the tests in this folder use: the one that `ARANGO_URL` names, else a double."""

from __future__ import annotations

import base64
import json
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Collection, Mapping
from typing import Any

from tests.doubles.arangoprocess import ArangoProcess
from tests.limits import LIMIT_S

NAMES = ("ARANGO_URL", "ARANGO_DB", "ARANGO_USER", "ARANGO_PASSWORD", "STREAMFORGE_ARANGO_CA_PATH")


def real() -> dict[str, str] | None:
    """The variables that name a real server, whose user may make databases; None without one."""
    found = {name: os.environ[name] for name in NAMES if os.environ.get(name)}
    return found if "ARANGO_URL" in found else None


class Databases:
    """Makes databases on a server, and drops them in the end."""

    def __init__(self, server: Mapping[str, str]) -> None:
        self._server = dict(server)
        self._made: list[str] = []

    def __call__(self, name: str) -> dict[str, str]:
        """The variables that name the database, which is made. AssertionError if somebody else made it before."""
        if name not in self._made:
            self._ask("POST", "/_db/_system/_api/database", {"name": name})
            self._made.append(name)
        return self._server | {"ARANGO_DB": name}

    def drop(self) -> None:
        """Drop what was made, all that can be. AssertionError naming what could not."""
        left: list[str] = []
        while self._made:
            name = self._made.pop()
            try:
                self._ask("DELETE", f"/_db/_system/_api/database/{name}", fine=(404,))
            except (AssertionError, OSError) as error:
                left.append(f"{name}: {error}")
        assert not left, f"these databases are left: {left}"

    def _ask(self, method: str, path: str, body: Any = None, *, fine: Collection[int] = ()) -> None:
        who = f"{self._server.get('ARANGO_USER', '')}:{self._server.get('ARANGO_PASSWORD', '')}"
        request = urllib.request.Request(
            self._server["ARANGO_URL"] + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": "Basic " + base64.b64encode(who.encode()).decode()},
        )
        ca = self._server.get("STREAMFORGE_ARANGO_CA_PATH")
        trusted = ssl.create_default_context(cafile=ca) if self._server["ARANGO_URL"].startswith("https") else None
        try:
            with urllib.request.urlopen(request, timeout=LIMIT_S, context=trusted) as answer:
                answer.read()
        except urllib.error.HTTPError as error:
            if error.code not in fine:
                raise AssertionError(f"{method} {path}: {error.code} {error.read()[:300]!r}") from error


def databases(double: ArangoProcess) -> Databases:
    """Databases on a double."""
    return Databases(double.environment())
