"""A client of ArangoDB's makers that knows nothing of this double works with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from arango.client import ArangoClient
from arango.exceptions import AQLQueryExecuteError, DocumentInsertError, DocumentReplaceError, DocumentRevisionError

from tests.doubles.arangodb.double import ArangoDouble

Work = Callable[[Any], Any]
"""Done with a database of the client's (whose answers are typed as one of three kinds)."""


async def used(double: ArangoDouble, work: Work) -> Any:
    """What `work` gives, on a database of its own; the client blocks, so it works in a thread."""

    def run() -> Any:
        client = ArangoClient(hosts=double.url)
        try:
            client.db("_system", username="root", password="secret").create_database("d")
            return work(client.db("d", username="root", password="secret"))
        finally:
            client.close()

    return await asyncio.to_thread(run)


async def test_documents_and_indexes(double: ArangoDouble) -> None:
    def work(db: Any) -> None:
        assert db.version().startswith("3.1")
        schema = {"rule": {"properties": {"n": {"type": "number"}}}, "level": "strict", "message": "n"}
        candles = db.create_collection("candles", schema=schema)
        assert candles.add_index({"type": "persistent", "fields": ["n"], "unique": True})["isNewlyCreated"]
        results = candles.insert_many([{"_key": f"k{n}", "n": n} for n in range(10)] + [{"_key": "bad", "n": "x"}])
        assert isinstance(results[-1], DocumentInsertError)
        assert results[-1].error_code == 1620
        assert candles.count() == 10
        with pytest.raises(DocumentInsertError) as taken:
            candles.insert({"_key": "other", "n": 3})
        assert taken.value.error_code == 1210
        replaced = candles.insert_many([{"_key": "k1", "n": 100}], overwrite_mode="replace", return_old=True)
        assert replaced[0]["old"]["n"] == 1
        document = candles.get("k1")
        candles.update({"_key": "k1", "more": True})
        with pytest.raises((DocumentReplaceError, DocumentRevisionError)) as stale:
            candles.replace(document, check_rev=True)
        assert stale.value.error_code == 1200
        assert {d["_key"] for d in candles.get_many(["k1", "k2", "no"])} == {"k1", "k2"}
        assert candles.delete("k2")
        assert not candles.has("k2")
        assert candles.import_bulk([{"_key": "i1"}, {"_key": "k1"}], on_duplicate="ignore")["ignored"] == 1
        assert [index["type"] for index in candles.indexes()] == ["primary", "persistent"]
        candles.truncate()
        assert candles.count() == 0

    await used(double, work)


async def test_queries_and_cursors(double: ArangoDouble) -> None:
    def work(db: Any) -> None:
        numbers = db.create_collection("numbers")
        numbers.insert_many([{"_key": f"{n:04}", "n": n} for n in range(2500)])
        aql = db.aql
        cursor = aql.execute("FOR d IN numbers FILTER d.n % 2 == 0 SORT d.n RETURN d.n", batch_size=100, count=True)
        assert cursor.count() == 1250
        assert list(cursor) == list(range(0, 2500, 2))
        counting = "FOR d IN @@c COLLECT WITH COUNT INTO n RETURN n"
        assert list(aql.execute(counting, bind_vars={"@c": "numbers"})) == [2500]
        open_one = aql.execute("FOR i IN 1..10 RETURN i", batch_size=2)
        assert open_one.close()
        with pytest.raises(AQLQueryExecuteError) as unknown:
            aql.execute("FOR d IN nothing RETURN d")
        assert unknown.value.error_code == 1203
        assert aql.validate("RETURN @a")["bind_vars"] == ["a"]

    await used(double, work)


async def test_graphs_and_transactions(double: ArangoDouble) -> None:
    def work(db: Any) -> None:
        graph = db.create_graph("g")
        people = graph.create_vertex_collection("people")
        knows = graph.create_edge_definition("knows", ["people"], ["people"])
        for name in "abc":
            people.insert({"_key": name})
        knows.insert({"_from": "people/a", "_to": "people/b"})
        knows.insert({"_from": "people/b", "_to": "people/c"})
        assert len(knows.edges("people/b")["edges"]) == 2
        people.delete("b")
        assert knows.count() == 0

        transaction = db.begin_transaction(write=["people"])
        transaction.collection("people").insert({"_key": "d"})
        assert not db.collection("people").has("d")
        transaction.commit_transaction()
        assert db.collection("people").has("d")
        assert db.delete_graph("g", drop_collections=True)
        assert not db.has_collection("people")

    await used(double, work)


async def test_users_and_what_the_server_is(double: ArangoDouble) -> None:
    def work(db: Any) -> None:
        assert db.engine()["name"] == "rocksdb"
        assert db.properties()["name"] == "d"
        assert [c["name"] for c in db.collections() if not c["system"]] == []

    await used(double, work)


async def test_what_its_users_do_first(double: ArangoDouble) -> None:
    """The client sends `LIMIT 0, null` for all, and null for what is not given."""

    def work(db: Any) -> None:
        numbers = db.create_collection("numbers")
        numbers.insert_many([{"_key": f"{n}", "n": n} for n in range(30)])
        assert len(list(numbers.all())) == 30
        assert len(list(numbers.all(skip=3, limit=5))) == 5
        assert list(db.aql.execute("FOR i IN 1..3 LIMIT 1, null RETURN i")) == [2, 3]

    await used(double, work)

    def users() -> list[str]:
        client = ArangoClient(hosts=double.url)
        try:
            system: Any = client.db("_system", username="root", password="secret")
            system.create_user("somebody", "hush")
            system.update_permission("somebody", "ro", "d")
            found: Any = client.db("d", username="somebody", password="hush")
            system.create_database("mine", users=[{"username": "other", "password": "psst"}])
            mine: Any = client.db("mine", username="other", password="psst")
            return [c["name"] for db in (found, mine) for c in db.collections() if not c["system"]]
        finally:
            client.close()

    assert await asyncio.to_thread(users) == ["numbers"]
