"""What the bus and the store of a manager are, with their versions."""

from __future__ import annotations

import sqlite3
from importlib.metadata import version

from streamforge_utils.ports.store import Store
from streamforge_utils.runtime.life.settings import DataSettings


async def technologies(settings: DataSettings, store: Store) -> dict[str, str]:
    """By `bus` and `store`. store: the one that the settings name. Raises as `Store.connect`."""
    files = f"files (SQLite {sqlite3.sqlite_version})"
    bus = f"Kafka (confluent-kafka {version('confluent-kafka')})" if settings.kafka.bootstrap_servers else files
    server = getattr(store, "version", None)  # a database has one of its own
    return {"bus": bus, "store": files if server is None else f"ArangoDB {await server()}"}
