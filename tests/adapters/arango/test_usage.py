"""How much room is left: as the server counts it, or as the collections show it."""

from __future__ import annotations

import pytest

from streamforge_utils.adapters.arango.arango_server import COMMUNITY_BYTES
from streamforge_utils.ports.store import Document
from tests.adapters.arango.conftest import MakeStore
from tests.doubles.arangodb.double import ArangoDouble
from tests.doubles.arangodb.misbehaviour import Fault


@pytest.mark.parametrize("version", ["3.12.10"], indirect=True)
async def test_the_server_says_what_its_licence_allows(make: MakeStore, double: ArangoDouble) -> None:
    store = make()
    before = await store.usage()
    assert before.limit_bytes == COMMUNITY_BYTES
    await store.upsert("candles", [Document(f"k{n}", 1, b'{"text":"%b"}' % (b"x" * 1000)) for n in range(100)])
    after = await store.usage()
    assert after.used_bytes - before.used_bytes > 100_000
    assert not after.read_only
    double.server.settings.limit_bytes = 1000
    beyond = await store.usage()
    assert beyond.limit_bytes == 1000
    assert beyond.used_bytes > 1000


@pytest.mark.parametrize("version", ["3.11.14"], indirect=True)
async def test_before_there_was_a_limit_the_collections_are_added_up(make: MakeStore) -> None:
    store = make()
    await store.upsert("candles", [Document(f"k{n}", 1, b'{"text":"%b"}' % (b"x" * 1000)) for n in range(100)])
    usage = await store.usage()
    assert usage.limit_bytes is None
    assert usage.used_bytes > 100_000


@pytest.mark.parametrize("version", ["3.12.10"], indirect=True)
async def test_who_may_not_ask_for_the_licence_is_told_the_size(make: MakeStore, double: ArangoDouble) -> None:
    store = make()
    await store.upsert("candles", [Document("k", 1, b'{"text":"%b"}' % (b"x" * 1000))])
    double.misbehaviour.add(Fault(kind="error", number=11, path="_admin/license"))
    assert (await store.usage()).used_bytes > 1000


@pytest.mark.parametrize("version", ["3.12.10"], indirect=True)
async def test_what_other_databases_take_is_said_to_be_missing_where_the_server_does_not_tell(
    make: MakeStore, double: ArangoDouble
) -> None:
    double.server.settings.edition = "community"
    double.server.create_database({"name": "another"})
    await make().upsert("candles", [Document("k", 1, b'{"text":"%b"}' % (b"x" * 1000))])
    other = [Document(f"k{n}", 1, b'{"text":"%b"}' % (b"x" * 1000)) for n in range(100)]
    await make(database="another").upsert("candles", other)
    asked = await make().usage()
    assert (asked.whole, asked.used_bytes > 100_000) == (True, True)
    double.misbehaviour.add(Fault(kind="error", number=11, path="_admin/license"))
    alone = await make().usage()
    assert (alone.whole, alone.limit_bytes) == (False, COMMUNITY_BYTES)
    assert 1000 < alone.used_bytes < 50_000
