"""What a manager says its bus and store are."""

from __future__ import annotations

import sqlite3
from importlib.metadata import version
from pathlib import Path

from streamforge.manager.health.shown_settings import technologies
from streamforge_utils.adapters.arango import ArangoStore, Connection, Transport
from streamforge_utils.model.secret import Secret
from streamforge_utils.runtime.life.server_settings import KafkaSettings
from streamforge_utils.runtime.life.settings import DataSettings
from tests.doubles.arangodb.double import ArangoDouble
from tests.doubles.arangodb.server import Settings
from tests.doubles.memorystore import MemoryStore


async def test_files_are_told_with_the_version_of_sqlite(tmp_path: Path) -> None:
    files = f"files (SQLite {sqlite3.sqlite_version})"
    assert await technologies(DataSettings(data_dir=tmp_path), MemoryStore()) == {"bus": files, "store": files}


async def test_a_database_is_told_with_its_own_and_kafka_with_that_of_its_client() -> None:
    async with ArangoDouble(Settings(version="3.12.10", password="hush-hush")) as double:
        double.server.create_database({"name": "candles"})
        connection = Connection(url=double.url, database="candles", user="root", password=Secret("hush-hush"))
        store = ArangoStore(Transport(connection))
        settings = DataSettings(kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1"))
        found = await technologies(settings, store)
        await store.close()
    assert found == {"bus": f"Kafka (confluent-kafka {version('confluent-kafka')})", "store": "ArangoDB 3.12.10"}
