"""The store on ArangoDB beside the contract: first use, what a server refuses, what others made, and room."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import msgspec
import pytest

from streamforge_utils.adapters.arango import ArangoStore, document_bodies
from streamforge_utils.adapters.arango.arango_server import COMMUNITY_BYTES
from streamforge_utils.model.errors import ConfigError, PermanentError
from streamforge_utils.model.kinds.registry import kind_named
from streamforge_utils.model.series import Series
from streamforge_utils.ports.store import Document, Edge, Outcome
from tests.adapters.arango.conftest import DATABASE, PASSWORD, MakeStore
from tests.doubles.arangodb import indexes
from tests.doubles.arangodb.double import ArangoDouble
from tests.doubles.arangodb.misbehaviour import Fault
from tests.doubles.arangodb.server import Settings
from tests.doubles.observer import RecordingObserver

STORED, UNCHANGED, STALE, REFUSED = Outcome.STORED, Outcome.UNCHANGED, Outcome.STALE, Outcome.REFUSED


async def answer_of(double: ArangoDouble, method: str, path: str, body: object) -> tuple[int, int]:
    """What another client's request is answered: the status, and the error number, 0 if there is none."""
    headers = {"Authorization": aiohttp.encode_basic_auth("root", PASSWORD)}
    url = f"{double.url}/_db/{DATABASE}{path}"
    async with aiohttp.ClientSession(headers=headers) as session, session.request(method, url, json=body) as answer:
        return answer.status, (await answer.json()).get("errorNum", 0)


async def ask(double: ArangoDouble, method: str, path: str, body: object) -> None:
    """A request of another client, which is obeyed."""
    status, error = await answer_of(double, method, path, body)
    assert status < 300, error


def record(kind: str, number: int = 0) -> Document:
    """A record of a kind, as its sink stores it; of an unknown one what somebody else may store who has times too."""
    if kind == "foreign":
        return Document(f"foreign_{number:013d}", 1, b'{"open_time":1722470400000,"timestamp":1722470400000}')
    found = kind_named(kind)
    type_name = found.types[0]
    position = found.first_position + 1_722_470_400_000 * (kind == "candles") + 60_000 * number
    message = found.imitation(Series("BTCUSDT", kind, found.interval_of(type_name) or ""), position)
    return Document(*found.document(None, msgspec.json.encode(message)))


def indexes_of(double: ArangoDouble, collection: str) -> dict[str, list[str]]:
    """The fields of each index that a collection was given, by its name."""
    made = double.server.databases[DATABASE].collections[collection]
    facts = [index.facts for index in made.indexes if index.facts["type"] != "primary"]
    assert all((one["type"], one["sparse"], one["unique"]) == ("persistent", True, False) for one in facts)
    return {one["name"]: one["fields"] for one in facts}


def outcome(answers: object) -> list[Outcome]:
    return [answer.outcome for answer in answers]  # type: ignore[attr-defined]


async def test_many_make_a_collection_on_first_use_and_it_is_made_once(make: MakeStore, double: ArangoDouble) -> None:
    stores = [make() for _ in range(6)]
    answers = await asyncio.gather(
        *(store.upsert("candles", [record("candles", number)]) for number, store in enumerate(stores))
    )
    assert [outcome(one) for one in answers] == [[STORED]] * 6
    assert await stores[0].count("candles") == 6
    made = double.server.databases[DATABASE].collections["candles"]
    assert made.facts["schema"]["level"] == "strict"
    assert sorted(index.facts["type"] for index in made.indexes) == ["persistent", "primary"]


async def test_the_schema_keeps_foreign_writers_to_the_version(store: ArangoStore, double: ArangoDouble) -> None:
    await store.upsert("candles", [Document("a", 1, b"{}")])
    path = "/_api/document/candles"
    assert await answer_of(double, "POST", path, {"_key": "zz"}) == (400, 1620)
    assert await answer_of(double, "POST", path, {"_key": "zz", "_version": 1}) == (202, 0)
    assert await store.count("candles") == 2


async def test_a_collection_of_another_type_is_named(store: ArangoStore) -> None:
    await store.link("relations", [Edge("x/a", "x/b")])
    with pytest.raises(ConfigError, match=r"collection relations is one of edges.*COLLECTION_NAME"):
        await store.upsert("relations", [Document("a", 1, b"{}")])
    await store.upsert("candles", [Document("a", 1, b"{}")])
    with pytest.raises(ConfigError, match="collection candles is one of documents"):
        await store.link("candles", [Edge("x/a", "x/b")])


async def test_the_states_are_no_collection_of_records(store: ArangoStore) -> None:
    await store.put("workflow", "a", b"1", expected=None)
    assert list(await store.names()) == []
    for use in (store.upsert("streamforge_states", [Document("a", 1, b"{}")]), store.drop("streamforge_states")):
        with pytest.raises(PermanentError, match="StreamForge's own"):
            await use


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1},{"_key":"smuggled"}',
        b'{"a":1}{"b":2}',
        b"{x}",
        b'{"a":NaN}',
        b'{"a":"\xff"}',
        b'{"_key":"other"}',
        b'{"\\u005fkey":"other"}',
        b'{"_rev":"x"}',
        b'{"a":1,"_version":99}',
    ],
)
async def test_a_body_that_would_say_something_else_there_is_refused(store: ArangoStore, body: bytes) -> None:
    good = Document("good", 1, b'{"text": "_key \\u00e9"}')
    answers = await store.upsert("candles", [good, Document("bad", 1, body), Document("c", 1, b"{ }")])
    assert outcome(answers) == [STORED, REFUSED, STORED]
    assert "'bad'" in answers[1].reason
    assert list(await store.keys("candles")) == ["c", "good"]
    assert json.loads((await store.read("candles"))[1].body) == {"text": "_key é"}


async def test_what_only_the_server_finds_is_refused_alone(store: ArangoStore) -> None:
    """A number that no double holds: the server refuses the whole request, not the document."""
    documents = [Document(f"k{number}", 1, b'{"a":%s}' % (b"1e999" if number == 5 else b"1")) for number in range(9)]
    answers = await store.upsert("candles", documents)
    assert [n for n, answer in enumerate(answers) if answer.outcome is REFUSED] == [5]
    assert "'k5'" in answers[5].reason
    assert await store.count("candles") == 8


async def test_a_unique_index_of_somebody_else_refuses_what_violates_it_and_nothing_is_waited_for(
    store: ArangoStore, double: ArangoDouble, observer: RecordingObserver
) -> None:
    await store.upsert("candles", [Document("there", 1, b'{"v":-1}')])
    await ask(double, "POST", "/_api/index?collection=candles", {"type": "persistent", "fields": ["v"], "unique": True})
    double.misbehaviour.requests.clear()
    documents = [Document(f"k{n:02d}", 1, b'{"v":%d}' % (-1 if n in (5, 40) else n)) for n in range(64)]
    answers = await store.upsert("candles", documents)
    assert [n for n, answer in enumerate(answers) if answer.outcome is REFUSED] == [5, 40]
    assert "'k05'" in answers[5].reason
    assert "1210" in answers[5].reason
    assert await store.count("candles") == 63
    assert not any(name.startswith("store_retries_total") for name in observer.counts)
    # On 3.11 a statement is all or nothing: halves of 64 down to 2 documents, and then one by one.
    assert double.misbehaviour.requests.total() <= 2 * 2 * 6 + 4


async def test_of_one_moment_the_later_word_counts(store: ArangoStore) -> None:
    """As in the embedded store: records of a producer that knows no versions can be corrected."""
    for said, expected in ((b'{"v":1}', STORED), (b'{"v":2}', STORED), (b'{"v":2}', UNCHANGED)):
        assert outcome(await store.upsert("candles", [Document("k", 0, said)])) == [expected]
    assert [d.body for d in await store.read("candles")] == [b'{"v":2}']


async def test_a_document_of_the_first_generation_has_version_0(store: ArangoStore, double: ArangoDouble) -> None:
    await ask(double, "POST", "/_api/collection", {"name": "old"})
    await ask(double, "POST", "/_api/document/old", {"_key": "k", "v": 1})
    assert [(d.key, d.version, json.loads(d.body)) for d in await store.read("old")] == [("k", 0, {"v": 1})]
    assert outcome(await store.upsert("old", [Document("k", 5, b'{"v":1}')])) == [UNCHANGED]
    assert [(d.key, d.version) for d in await store.read("old")] == [("k", 5)]


@pytest.mark.parametrize("found", ["v1", 1.5, True, -3, None, [1]])
async def test_what_somebody_else_calls_a_version_keeps_nothing_from_being_read_or_replaced(
    found: object, store: ArangoStore, double: ArangoDouble
) -> None:
    await ask(double, "POST", "/_api/collection", {"name": "old"})
    await ask(double, "POST", "/_api/document/old", {"_key": "k", "_version": found, "v": 1})
    assert [(d.key, d.version, json.loads(d.body)) for d in await store.read("old")] == [
        ("k", 1 if found == 1.5 else 0, {"v": 1})
    ]
    assert outcome(await store.upsert("old", [Document("k", 5, b'{"v":2}')])) == [STORED]
    assert [(d.key, d.version) for d in await store.read("old")] == [("k", 5)]


async def test_large_batches_are_cut_and_nothing_is_lost(store: ArangoStore, double: ArangoDouble) -> None:
    body = b'{"text":"' + b"x" * 1_000_000 + b'"}'
    documents = [Document(f"k{number}", 1, body) for number in range(10)]
    assert outcome(await store.upsert("candles", documents)) == [STORED] * 10
    assert await store.count("candles") == 10
    sent = sum(number for name, number in double.misbehaviour.requests.items() if name.startswith("POST"))
    assert sent >= 3


@pytest.mark.parametrize(
    ("sizes", "cuts"),
    [
        ([10], [(0, 1)]),
        ([document_bodies.CHUNK_BYTES - 10, 5, 10], [(0, 2), (2, 3)]),
        ([document_bodies.CHUNK_BYTES * 2, 1], [(0, 1), (1, 2)]),
        (
            [1] * (document_bodies.CHUNK_DOCUMENTS + 1),
            [(0, document_bodies.CHUNK_DOCUMENTS), (document_bodies.CHUNK_DOCUMENTS, 5_001)],
        ),
    ],
)
def test_no_request_is_larger_than_the_limit_but_for_one_large_document(
    sizes: list[int], cuts: list[tuple[int, int]]
) -> None:
    assert list(document_bodies.chunks(sizes)) == cuts


async def test_edges_make_up_a_named_graph_that_a_dropped_collection_leaves(
    store: ArangoStore, double: ArangoDouble
) -> None:
    await store.upsert("coins", [Document("btc", 1, b"{}"), Document("eth", 1, b"{}")])
    await store.link("trades_with", [Edge("coins/btc", "coins/eth"), Edge("coins/btc", "places/binance")])
    graph = double.server.databases[DATABASE].collections["_graphs"]
    (found,) = list(graph.scan())
    (definition,) = found["edgeDefinitions"]
    assert (definition["collection"], definition["from"], definition["to"]) == (
        "trades_with",
        ["coins"],
        ["coins", "places"],
    )
    await store.drop("places")
    await store.drop("coins")
    assert list(await store.names()) == []


BY_TIME = {
    "candles": {"by_open_time": ["open_time"]},
    "trades": {"by_timestamp": ["timestamp"]},
    "agg_trades": {"by_timestamp": ["timestamp"]},
    "foreign": {},
}


@pytest.mark.parametrize("kind", BY_TIME)
async def test_a_collection_gets_the_indexes_of_the_kind_whose_records_it_receives(
    kind: str, store: ArangoStore, double: ArangoDouble
) -> None:
    await store.upsert("chosen-by-the-user", [record(kind, number) for number in range(3)])
    assert indexes_of(double, "chosen-by-the-user") == BY_TIME[kind]


async def test_a_collection_of_the_version_before_gets_the_index_that_it_lacks_when_it_is_written(
    make: MakeStore, double: ArangoDouble
) -> None:
    """That version gave every collection an index on `open_time`, whatever it received."""
    collection = double.server.databases[DATABASE].create({"name": "old"})
    before = {"type": "persistent", "fields": ["open_time"], "sparse": True, "name": "by_open_time"}
    indexes.ensure(collection, before)
    assert outcome(await make().upsert("old", [record("candles")])) == [STORED]
    assert indexes_of(double, "old") == BY_TIME["candles"]
    assert outcome(await make().upsert("old", [record("trades")])) == [STORED]
    assert indexes_of(double, "old") == BY_TIME["candles"] | BY_TIME["trades"]


async def test_an_index_is_asked_for_once_per_collection(store: ArangoStore, double: ArangoDouble) -> None:
    await store.link("relations", [Edge("mixed/a", "mixed/b")])
    assert indexes_of(double, "mixed") == {}
    for number in range(3):
        for kind in BY_TIME:
            await store.upsert("mixed", [record(kind, number)])
    assert indexes_of(double, "mixed") == BY_TIME["candles"] | BY_TIME["trades"]
    assert double.misbehaviour.requests["POST _api/index"] == 2


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
    make: MakeStore,
) -> None:
    async with ArangoDouble(Settings(version=version, password=PASSWORD, cluster=True)) as double:
        double.server.create_database({"name": DATABASE})
        double.server.databases[DATABASE].create({"name": "old"} | options)
        store = make(url=double.url)
        with pytest.raises(ConfigError, match=rf"collection old: .* takes no keys .*error {number}.*COLLECTION_NAME"):
            await store.upsert("old", RECORDS)
        assert await store.count("old") == 0


async def test_an_index_of_the_name_of_ours_is_left_as_it_is(store: ArangoStore, double: ArangoDouble) -> None:
    collection = double.server.databases[DATABASE].create({"name": "old"})
    index = {"type": "persistent", "fields": ["close_time"], "name": "by_open_time"}
    made, _ = indexes.ensure(collection, index)
    candles = [record("candles", number) for number in range(3)]
    assert outcome(await store.upsert("old", candles)) == [STORED] * 3
    assert await store.keys("old") == [candle.key for candle in candles]
    assert made.facts["fields"] == ["close_time"]


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
