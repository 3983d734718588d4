"""The bus and the store of the managers that tests start, and of their workers: by default the embedded ones.

Tests that start whole processes say nothing of them, so that the same ones run on real engines. On a bus of many each
data directory has topics of commands and events of its own, on a server of many a database.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from streamforge import wiring
from streamforge_utils.ports.store import Store
from streamforge_utils.runtime.life.environment import load
from streamforge_utils.runtime.life.server_settings import ArangoSettings
from streamforge_utils.runtime.life.settings import DataSettings

Server = Callable[[str], Mapping[str, str]]
"""Makes the database of a name, if there is none; gives the variables that name it."""

_RUN = secrets.token_hex(4)
"""No run meets the databases of another, which may have been ended before it could drop them."""
_buses: list[Mapping[str, str]] = []
_servers: list[Server] = []
_databases: dict[str, dict[str, str]] = {}


@contextmanager
def on_bus(environment: Mapping[str, str]) -> Iterator[None]:
    """Until the end of the block managers are started with `environment`, which names a bus of many."""
    _buses.append(environment)
    try:
        yield
    finally:
        _buses.pop()


@contextmanager
def on_store(server: Server) -> Iterator[None]:
    """Until the end of the block managers are started on a server of many."""
    _servers.append(server)
    try:
        yield
    finally:
        _servers.pop()
        _databases.clear()


def bus_embedded() -> bool:
    """Whether the bus lies in the data directory."""
    return not _buses


def store_embedded() -> bool:
    """Whether the store lies in the data directory."""
    return not _servers


def patience(seconds: float) -> float:
    """How long to wait, on this bus and this store, for what is to be there within `seconds` on the embedded ones."""
    return seconds if bus_embedded() and store_embedded() else 2 * seconds


def environment(data: Path) -> dict[str, str]:
    """What a manager on `data` is started with."""
    return bus_environment(data) | store_environment(data)


def bus_environment(data: Path) -> dict[str, str]:
    """The part of it that names the bus."""
    if bus_embedded():
        return {}
    code = _code(data)
    return {**_buses[-1], "QUEUE_CONTROL_TOPIC": f"control-{code}", "QUEUE_EVENTS_TOPIC": f"events-{code}"}


def store_environment(data: Path) -> dict[str, str]:
    """The part of it that names the store."""
    if store_embedded():
        return {}
    code = _code(data)
    if code not in _databases:
        _databases[code] = dict(_servers[-1](f"sf-{_RUN}-{code}"))
    return dict(_databases[code])


def control_topic(data: Path) -> str:
    """The topic of commands of the manager on `data`."""
    return bus_environment(data).get("QUEUE_CONTROL_TOPIC", "queue-control")


def events_topic(data: Path) -> str:
    """The topic of events of the manager on `data`."""
    return bus_environment(data).get("QUEUE_EVENTS_TOPIC", "queue-events")


def make_store(data: Path) -> Store:
    """The store of the manager on `data`, for a look into it."""
    return wiring.make_store(DataSettings(data_dir=data, arango=load(ArangoSettings, store_environment(data))))


def _code(data: Path) -> str:
    return hashlib.sha256(str(data.absolute()).encode()).hexdigest()[:10]
