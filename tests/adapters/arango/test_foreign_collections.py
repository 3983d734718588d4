"""Collections that somebody else has made, with other options than ours."""

from __future__ import annotations

from typing import Any

import pytest

from streamforge_utils.adapters.arango.arango_store import ArangoStore
from streamforge_utils.adapters.arango.connection import Connection
from streamforge_utils.model.errors import ConfigError
from streamforge_utils.model.secret import Secret
from streamforge_utils.ports.store import Document, Outcome
from tests.adapters.arango.conftest import DATABASE, PASSWORD
from tests.doubles.arangodb import indexes
from tests.doubles.arangodb.double import ArangoDouble
from tests.doubles.arangodb.server import Settings

RECORDS = [Document(f"k{n}", 1, b'{"open_time":%d}' % n) for n in range(3)]


@pytest.mark.parametrize(
    ("number", "options"),
    [
        (1222, {"keyOptions": {"type": "traditional", "allowUserKeys": False}}),
        (1466, {"numberOfShards": 2, "shardKeys": ["open_time"]}),
    ],
)
async def test_a_collection_that_takes_no_keys_is_named_instead_of_every_record_refused(
    number: int,
    options: dict[str, Any],
    version: str,  # a double of its own: a cluster
) -> None:
    async with ArangoDouble(Settings(version=version, password=PASSWORD, cluster=True)) as double:
        double.server.create_database({"name": DATABASE})
        double.server.databases[DATABASE].create({"name": "old"} | options)
        connection = Connection(url=double.url, database=DATABASE, user="root", password=Secret(PASSWORD))
        store = ArangoStore(connection)
        try:
            with pytest.raises(
                ConfigError, match=rf"collection old: .* takes no keys .*error {number}.*COLLECTION_NAME"
            ):
                await store.upsert("old", RECORDS)
            assert await store.count("old") == 0
        finally:
            await store.close()


async def test_an_index_of_the_name_of_ours_is_left_as_it_is(store: ArangoStore, double: ArangoDouble) -> None:
    collection = double.server.databases[DATABASE].create({"name": "old"})
    index = {"type": "persistent", "fields": ["close_time"], "name": "by_open_time"}
    made, _ = indexes.ensure(collection, index)
    answers = await store.upsert("old", RECORDS)
    assert [answer.outcome for answer in answers] == [Outcome.STORED] * 3
    assert await store.keys("old") == ["k0", "k1", "k2"]
    assert made.facts["fields"] == ["close_time"]
