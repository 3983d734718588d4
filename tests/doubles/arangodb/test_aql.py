"""Queries: what they give, and the numbers of their errors."""

from __future__ import annotations

from typing import Any

import pytest

from tests.doubles.arangodb.conftest import Ask

PEOPLE = [
    {"_key": "a", "name": "Ada", "age": 36, "tags": ["x", "y"]},
    {"_key": "b", "name": "Bob", "age": 20, "tags": []},
    {"_key": "c", "name": "Cid", "age": 36},
    {"_key": "D", "name": "Dan", "age": None},
]
COUNT = "FOR d IN p COLLECT WITH COUNT INTO n RETURN n"


@pytest.fixture
def version() -> str:
    return "3.12.10"


@pytest.fixture(autouse=True)
async def _people(ask: Ask) -> None:
    await ask("POST", "/_api/collection", {"name": "p"})
    await ask("POST", "/_api/document/p", PEOPLE)


async def run(ask: Ask, query: str, **bind: Any) -> Any:
    status, answer = await ask("POST", "/_api/cursor", {"query": query, "bindVars": bind})
    assert status == 201, answer
    return answer["result"]


@pytest.mark.parametrize(
    ("query", "result"),
    [
        ("RETURN 1 + 2 * 3 - 4 / 2 - 7 % 4", [2]),
        (
            "RETURN [1 == 1.0, 'a' < 'B', 'a' < 'A', '_' < '-', null < false, [] < {}, 'x' IN ['x'], 2 != 3]",
            [[True] * 8],
        ),
        ("RETURN [1, 2] == [1, 2.0]", [True]),
        ("RETURN (1 < 2 && null) || 'other'", ["other"]),
        ("RETURN true ? 'yes' : 'no'", ["yes"]),
        ("FOR x IN [3, 1, 2] SORT x DESC LIMIT 1, 1 RETURN x", [2]),
        ("FOR x IN 1..3 FOR y IN 1..2 FILTER x + y == 4 RETURN [x, y]", [[2, 2], [3, 1]]),
        ("LET d = { a: 1, 'b': { c: 2 } } RETURN [d.b.c, d.no, d.b['c']]", [[2, None, 2]]),
        ("RETURN UNSET({ a: 1, b: 2, c: 3 }, 'a', 'b')", [{"c": 3}]),
        ("RETURN [PUSH([1], 2), PUSH(null, 1), IS_NUMBER(1.5), IS_NUMBER(true)]", [[[1, 2], [1], True, False]]),
        ("FOR d IN p FILTER d.age == 36 SORT d.name RETURN d._key", ["a", "c"]),
        ("FOR d IN p SORT d.age, d.name DESC RETURN d._key", ["D", "b", "c", "a"]),
        ("FOR d IN p SORT d._key RETURN d._key", ["D", "a", "b", "c"]),
        ("FOR d IN p FILTER d._key >= 'a' AND d._key < 'c' SORT d._key RETURN d._key", ["a", "b"]),
        ("FOR d IN p FILTER d._key > 'D' AND d._key <= 'b' SORT d._key RETURN d._key", ["a", "b"]),
        ("FOR d IN p FILTER d._key IN ['c', 'no', 'a'] SORT d._key RETURN d._key", ["a", "c"]),
        ("FOR d IN p FILTER d._key > 5 RETURN 1", [1, 1, 1, 1]),
        ("FOR k IN ['a', 'b'] FOR d IN p FILTER d._key == k RETURN d.name", ["Ada", "Bob"]),
        ("FOR d IN p COLLECT WITH COUNT INTO n RETURN n", [4]),
        ("FOR d IN p FILTER d.age > 30 OR (d.age == 20 AND d.name IN ['Bob']) RETURN d._key", ["a", "b", "c"]),
    ],
)
async def test_a_query_gives_its_result(ask: Ask, query: str, result: Any) -> None:
    assert await run(ask, query) == result


async def test_bind_parameters_stand_for_values_names_and_attributes(ask: Ask) -> None:
    query = "FOR d IN @@c FILTER d[@by] == @age SORT d._key LIMIT @n RETURN d._key"

    assert await run(ask, query, **{"@c": "p", "by": "age", "age": 36, "n": 1}) == ["a"]


async def test_writes_give_old_and_new(ask: Ask) -> None:
    update = "FOR d IN p FILTER d.age == 36 UPDATE d WITH { age: d.age + 1 } IN p RETURN [OLD.age, NEW.age]"
    assert await run(ask, update) == [[36, 37], [36, 37]]
    replace = "REPLACE 'a' WITH { x: 1 } IN p RETURN UNSET(NEW, '_rev')"
    assert await run(ask, replace) == [{"_id": "p/a", "_key": "a", "x": 1}]
    assert await run(ask, "REMOVE { _key: 'a' } IN p RETURN OLD.x") == [1]


async def test_a_guarded_upsert_lets_no_older_document_win(ask: Ask) -> None:
    query = (
        "FOR doc IN @docs UPSERT { _key: doc._key } INSERT doc REPLACE (OLD.v > doc.v ? OLD : doc) IN p RETURN OLD.v"
    )
    found = [
        await run(ask, query, docs=docs)
        for docs in ([{"_key": "x", "v": 5}], [{"_key": "x", "v": 4}, {"_key": "y", "v": 1}], [{"_key": "x", "v": 6}])
    ]

    assert found == [[None], [5, None], [5]]
    assert await run(ask, "FOR d IN p FILTER d._key IN ['x', 'y'] RETURN d.v") == [6, 1]


async def test_a_failed_query_has_written_nothing(ask: Ask) -> None:
    query = "FOR k IN ['a', 'no'] REMOVE k IN p"

    status, answer = await ask("POST", "/_api/cursor", {"query": query})
    assert (status, answer["errorNum"]) == (404, 1202)
    assert await run(ask, COUNT) == [4]
    _, answer = await ask("POST", "/_api/cursor", {"query": query + " OPTIONS { ignoreErrors: true }"})
    stats = answer["extra"]["stats"]
    assert (stats["writesExecuted"], stats["writesIgnored"]) == (1, 1)
    assert await run(ask, COUNT) == [3]


@pytest.mark.parametrize(
    ("query", "bind", "status", "number"),
    [
        ("", {}, 400, 1502),
        ("   ", {}, 400, 1501),
        ("RETURN", {}, 400, 1501),
        ("FOR x IN p", {}, 400, 1501),
        ("RETURN 1 1", {}, 400, 1501),
        ("RETURN 'open", {}, 400, 1501),
        ("RETURN x", {}, 404, 1203),
        ("FOR d IN nothing RETURN d", {}, 404, 1203),
        ("RETURN @a", {}, 400, 1551),
        ("RETURN 1", {"a": 1}, 400, 1552),
        ("FOR d IN @@c RETURN d", {"@c": 1}, 400, 1553),
        ("RETURN NOTHING(1)", {}, 400, 1540),
        ("RETURN UNSET()", {}, 400, 1541),
        ("FOR a IN [1] FOR a IN [2] RETURN a", {}, 400, 1511),
        ("FOR a IN [1] LIMIT 'b' RETURN a", {}, 400, 1504),
        ("REMOVE 'no' IN p", {}, 404, 1202),
        ("UPDATE 'a' WITH 1 IN p", {}, 400, 1227),
        ("UPSERT { _key: 1 } INSERT { _key: 1 } REPLACE {} IN p", {}, 400, 1221),
    ],
)
async def test_an_error_has_its_number(ask: Ask, query: str, bind: dict[str, Any], status: int, number: int) -> None:
    found, answer = await ask("POST", "/_api/cursor", {"query": query, "bindVars": bind})

    assert (found, answer["errorNum"]) == (status, number)


async def test_results_come_in_batches_and_the_cursor_is_gone_with_the_last(ask: Ask) -> None:
    body = {"query": "FOR i IN 1..5 RETURN i", "batchSize": 2, "count": True}
    _, answer = await ask("POST", "/_api/cursor", body)
    number = answer["id"]
    assert (answer["result"], answer["hasMore"], answer["count"], answer["nextBatchId"]) == ([1, 2], True, 5, "2")

    _, second = await ask("POST", f"/_api/cursor/{number}")
    _, third = await ask("PUT", f"/_api/cursor/{number}")
    assert (second["result"], third["result"], third["hasMore"]) == ([3, 4], [5], False)
    assert "id" not in third
    assert (await ask("POST", f"/_api/cursor/{number}"))[1]["errorNum"] == 1600
    assert (await ask("DELETE", f"/_api/cursor/{number}"))[1]["errorNum"] == 1600


async def test_a_streaming_query_reads_as_it_is_asked(ask: Ask) -> None:
    await ask("POST", "/_api/document/p", [{"n": n} for n in range(3000)])
    query = "FOR d IN p FILTER d.n != null RETURN d.n"
    _, answer = await ask("POST", "/_api/cursor", {"query": query, "batchSize": 1000, "options": {"stream": True}})
    rows = answer["result"]
    while answer["hasMore"]:
        _, answer = await ask("POST", f"/_api/cursor/{answer['id']}")
        rows += answer["result"]

    assert rows == list(range(3000))


async def test_division_by_zero_warns_and_may_fail(ask: Ask) -> None:
    _, answer = await ask("POST", "/_api/cursor", {"query": "RETURN 1 / 0"})
    assert answer["result"] == [None]
    assert [warning["code"] for warning in answer["extra"]["warnings"]] == [1562]
    options = {"failOnWarning": True}
    assert (await ask("POST", "/_api/cursor", {"query": "RETURN 1 / 0", "options": options}))[0] == 400
