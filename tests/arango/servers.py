"""The server that the tests in this folder use: the one that `ARANGO_URL` names, else a double."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any

from tests.doubles.arangoprocess import ArangoProcess, ask

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
        status, answer = ask(self._server, method, path, body)
        assert status < 300 or status in fine, f"{method} {path}: {status} {answer}"


def databases(double: ArangoProcess) -> Databases:
    """Databases on a double."""
    return Databases(double.environment())
