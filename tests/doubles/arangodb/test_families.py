"""Collections, indexes, graphs, imports and databases: the cases beside those that are recorded."""

from __future__ import annotations

from typing import Any

import pytest

from tests.doubles.arangodb.conftest import Ask

GRAPH = {"name": "g", "edgeDefinitions": [{"collection": "e", "from": ["v"], "to": ["w"]}]}


@pytest.fixture
def version() -> str:
    return "3.12.10"


async def test_a_collection_lives(ask: Ask) -> None:
    _, made = await ask(
        "POST", "/_api/collection", {"name": "c", "keyOptions": {"type": "autoincrement", "increment": 5}}
    )
    keys = [(await ask("POST", "/_api/document/c", {}))[1]["_key"] for _ in range(3)]
    assert keys == ["5", "10", "15"]
    assert (await ask("GET", f"/_api/collection/{made['id']}/count"))[1]["count"] == 3
    assert (await ask("PUT", "/_api/collection/c/rename", {"name": "d"}))[1]["name"] == "d"
    assert (await ask("GET", "/_api/document/d/5"))[1]["_id"] == "d/5"
    assert (await ask("GET", "/_api/collection/c"))[1]["errorNum"] == 1203
    assert (await ask("PUT", "/_api/collection/d/properties", {"waitForSync": True}))[1]["waitForSync"] is True
    assert (await ask("POST", "/_api/document/d", {}))[0] == 201
    assert (await ask("PUT", "/_api/collection/d/truncate"))[0] == 200
    assert (await ask("GET", "/_api/collection/d/figures"))[1]["figures"]["documentsSize"] == 0
    assert (await ask("DELETE", "/_api/collection/d"))[1]["id"] == made["id"]


async def test_a_collection_may_refuse_own_keys(ask: Ask) -> None:
    await ask("POST", "/_api/collection", {"name": "c", "keyOptions": {"allowUserKeys": False}})

    assert (await ask("POST", "/_api/document/c", {"_key": "k"}))[1]["errorNum"] == 1222
    assert (await ask("POST", "/_api/document/c", {}))[0] == 202


@pytest.mark.parametrize(
    ("index", "status", "number"),
    [
        ({"type": "persistent", "fields": ["n"], "unique": True}, 400, 1210),
        ({"type": "persistent", "fields": []}, 400, 10),
        ({"type": "persistent", "fields": ["a", "a"]}, 400, 10),
        ({"type": "nonsense", "fields": ["a"]}, 400, 10),
        ({"type": "ttl", "fields": ["a"]}, 400, 10),
        ({"type": "ttl", "fields": ["b"], "expireAfter": 1}, 400, 10),
        ({"fields": ["a"]}, 400, 10),
    ],
)
async def test_an_index_that_cannot_be_made_has_its_number(
    ask: Ask, index: dict[str, Any], status: int, number: int
) -> None:
    await ask("POST", "/_api/collection", {"name": "c"})
    await ask("POST", "/_api/document/c", [{"n": 1}, {"n": 1}])
    await ask("POST", "/_api/index?collection=c", {"type": "ttl", "fields": ["seen"], "expireAfter": 60})

    found, answer = await ask("POST", "/_api/index?collection=c", index)
    assert (found, answer["errorNum"]) == (status, number)
    assert len((await ask("GET", "/_api/index?collection=c"))[1]["indexes"]) == 2
    assert (await ask("DELETE", "/_api/index/c/0"))[0] == 403


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "number"),
    [
        ("POST", "", GRAPH, 409, 1925),
        ("POST", "", {"edgeDefinitions": []}, 400, 1922),
        ("POST", "", {"name": "h", "edgeDefinitions": [{"collection": "x"}]}, 400, 1923),
        ("POST", "", {"name": "h", "edgeDefinitions": [{"collection": "e", "from": ["w"], "to": ["v"]}]}, 400, 1921),
        ("GET", "/no", None, 404, 1924),
        ("DELETE", "/no", None, 404, 1924),
        ("POST", "/g/edge", {"collection": "e", "from": ["v"], "to": ["w"]}, 400, 1920),
        ("PUT", "/g/edge/no", {"from": ["v"], "to": ["w"]}, 404, 1930),
        ("DELETE", "/g/edge/no", None, 404, 1930),
        ("POST", "/g/vertex", {"collection": "v"}, 400, 1929),
        ("DELETE", "/g/vertex/v", None, 400, 1928),
        ("DELETE", "/g/vertex/no", None, 404, 1926),
        ("POST", "/g/vertex/no", {}, 404, 1926),
        ("GET", "/g/vertex/v/no", None, 404, 1202),
        ("GET", "/g/vertex/no/no", None, 404, 1203),
        ("POST", "/g/edge/e", {"_from": "v/a", "_to": "w/no"}, 404, 1202),
        ("POST", "/g/edge/e", {"_from": "x/a", "_to": "w/b"}, 404, 1947),
        ("POST", "/g/edge/e", {"_from": "v/a"}, 400, 1233),
        ("POST", "/g/edge/e", {"_from": "w/b", "_to": "v/a"}, 400, 1906),
        ("POST", "/g/edge/no", {"_from": "v/a", "_to": "w/b"}, 404, 1930),
    ],
)
async def test_what_a_graph_refuses_has_its_number(
    ask: Ask, method: str, path: str, body: Any, status: int, number: int
) -> None:
    assert (await ask("POST", "/_api/gharial", GRAPH))[0] == 202
    await ask("POST", "/_api/document/v", {"_key": "a"})
    await ask("POST", "/_api/document/w", {"_key": "b"})

    found, answer = await ask(method, f"/_api/gharial{path}", body)
    assert (found, answer["errorNum"]) == (status, number), answer


async def test_a_collection_of_a_graph_cannot_be_dropped(ask: Ask) -> None:
    await ask("POST", "/_api/gharial", GRAPH)

    assert (await ask("DELETE", "/_api/collection/e"))[1]["errorNum"] == 1942
    assert (await ask("DELETE", "/_api/gharial/g"))[1]["removed"] is True
    assert (await ask("DELETE", "/_api/collection/e"))[0] == 200


@pytest.mark.parametrize(
    ("query", "body", "counts"),
    [
        ("type=documents", b'{"_key":"a","n":2}\n{"_key":"b"}\n\n{', (1, 2, 1, 0, 0)),
        ("type=documents&onDuplicate=update", b'{"_key":"a","n":2}\n{"_key":"b"}', (1, 0, 0, 1, 0)),
        ("type=array&onDuplicate=ignore", b'[{"_key":"a"},{"_key":"b"},7]', (1, 1, 0, 0, 1)),
        ("", b'["_key","n"]\n["b",1]\n["c"]\n', (1, 1, 0, 0, 0)),
        ("type=documents&overwrite=1", b'{"_key":"a"}', (1, 0, 0, 0, 0)),
    ],
)
async def test_an_import_counts(ask: Ask, query: str, body: bytes, counts: tuple[int, ...]) -> None:
    await ask("POST", "/_api/collection", {"name": "c"})
    await ask("POST", "/_api/document/c", {"_key": "a", "n": 1})

    status, answer = await ask("POST", f"/_api/import?collection=c&{query}", body)
    assert status == 201
    assert tuple(answer[name] for name in ("created", "errors", "empty", "updated", "ignored")) == counts


async def test_a_complete_import_stores_all_or_nothing(ask: Ask) -> None:
    await ask("POST", "/_api/collection", {"name": "c"})

    body = b'{"_key":"a"}\n{"_key":"a"}'
    assert (await ask("POST", "/_api/import?collection=c&type=documents&complete=true", body))[0] == 409
    assert (await ask("GET", "/_api/collection/c/count"))[1]["count"] == 0


async def test_databases_are_apart(ask: Ask) -> None:
    assert (await ask("POST", "/_api/database", {"name": "d"}))[0] == 201
    assert (await ask("POST", "/_api/database", {"name": "d"}))[1]["errorNum"] == 1207
    assert (await ask("POST", "/_db/d/_api/database", {"name": "x"}))[1]["errorNum"] == 1230
    await ask("POST", "/_db/d/_api/collection", {"name": "c"})
    assert (await ask("GET", "/_api/collection/c"))[1]["errorNum"] == 1203
    assert (await ask("GET", "/_db/d/_api/database/current"))[1]["result"]["name"] == "d"
    assert (await ask("DELETE", "/_api/database/d"))[0] == 200
    assert (await ask("GET", "/_db/d/_api/version"))[1]["errorNum"] == 1228
    assert (await ask("DELETE", "/_api/database/_system"))[0] == 403
