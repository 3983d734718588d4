"""Which store the managers of the tests use, and their workers with them: the embedded one unless another is named.

As `busenv` for the bus: tests that start whole processes say nothing of the store, so that the same ones run on
ArangoDB. Each data directory has a database of its own there.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from streamforge import wiring
from streamforge_utils.ports.store import Store
from streamforge_utils.runtime.arango import ArangoSettings
from streamforge_utils.runtime.environment import load
from streamforge_utils.runtime.settings import DataSettings

Server = Callable[[str], Mapping[str, str]]
"""Makes the database of a name, if there is none; gives the variables that name it."""

_RUN = secrets.token_hex(4)
"""No run meets the databases of another, which may have been ended before it could drop them."""
_chosen: list[Server] = []
_made: dict[str, dict[str, str]] = {}


@contextmanager
def instead(server: Server) -> Iterator[None]:
    """Until the end of the block managers are started on a server of many."""
    _chosen.append(server)
    try:
        yield
    finally:
        _chosen.pop()
        _made.clear()


def embedded() -> bool:
    """Whether the store lies in the data directory."""
    return not _chosen


def environment(data: Path) -> dict[str, str]:
    """What a manager on `data` is started with."""
    if embedded():
        return {}
    code = hashlib.sha256(str(data.absolute()).encode()).hexdigest()[:10]
    if code not in _made:
        _made[code] = dict(_chosen[-1](f"sf-{_RUN}-{code}"))
    return dict(_made[code])


def make_store(data: Path) -> Store:
    """The store of the manager on `data`, for a look into it."""
    return wiring.make_store(DataSettings(data_dir=data, arango=load(ArangoSettings, environment(data))))
