"""What writes do to documents: every mode on new and existing ones, alone and in arrays, by both versions' rules."""

from __future__ import annotations

from typing import Any

import pytest

from tests.doubles.arangodb.conftest import Ask

C = "/_api/document/c"


@pytest.fixture(autouse=True)
async def _collection(ask: Ask) -> None:
    assert (await ask("POST", "/_api/collection", {"name": "c"}))[0] == 200


async def stored(ask: Ask, key: str) -> dict[str, Any] | None:
    status, document = await ask("GET", f"{C}/{key}")
    if status == 404:
        return None
    return {name: value for name, value in document.items() if name not in ("_id", "_rev", "_key")}


@pytest.mark.parametrize("array", [False, True])
@pytest.mark.parametrize(
    ("mode", "left"),
    [
        ("ignore", {"a": 1, "o": {"x": 1}}),
        ("replace", {"b": 2, "o": {"y": 2}}),
        ("update", {"a": 1, "b": 2, "o": {"x": 1, "y": 2}}),
        ("update&mergeObjects=false", {"a": 1, "b": 2, "o": {"y": 2}}),
        ("conflict", {"a": 1, "o": {"x": 1}}),
        ("nonsense", {"a": 1, "o": {"x": 1}}),
    ],
)
async def test_an_overwrite_mode_decides_what_becomes_of_an_existing_document(
    ask: Ask, array: bool, mode: str, left: dict[str, Any]
) -> None:
    _, first = await ask("POST", C, {"_key": "k", "a": 1, "o": {"x": 1}})
    new = {"_key": "k", "b": 2, "o": {"y": 2}}

    status, answer = await ask("POST", f"{C}?overwriteMode={mode}", [new] if array else new)

    [answer] = answer if array else [answer]
    assert await stored(ask, "k") == left
    if mode in ("conflict", "nonsense"):
        assert status == (202 if array else 409)
        assert answer["errorNum"] == 1210
    elif mode == "ignore":
        assert (status, answer) == (202, first)
    else:
        assert status == 202
        assert answer["_oldRev"] == first["_rev"] != answer["_rev"]


@pytest.mark.parametrize("mode", ["ignore", "replace", "update", "conflict"])
async def test_an_overwrite_mode_stores_a_new_document(ask: Ask, mode: str) -> None:
    status, answer = await ask("POST", f"{C}?overwriteMode={mode}&returnNew=1&returnOld=1", {"_key": "k", "a": 1})

    assert status == 202
    assert answer["new"]["a"] == 1
    assert "_oldRev" not in answer
    assert "old" not in answer


@pytest.mark.parametrize(
    ("given", "left"), [(1, 5), (5, 5), (6, 6), (5.9, 5), (-1, -1), ("text", "text"), (None, None)]
)
@pytest.mark.parametrize("verb", ["POST", "PUT", "PATCH"])
async def test_a_version_attribute_lets_no_older_write_through_from_3_12_on(
    ask: Ask, version: str, verb: str, given: Any, left: Any
) -> None:
    await ask("POST", C, {"_key": "k", "v": 5})
    document = {"_key": "k", "v": given}

    status, [answer] = await ask(verb, f"{C}?overwriteMode=replace&versionAttribute=v", [document])
    assert (status, answer["_key"]) == (202, "k")
    skipped = not version.startswith("3.11") and left == 5
    assert (answer["_rev"] == answer["_oldRev"]) is skipped

    expected = given if version.startswith("3.11") else left
    assert await stored(ask, "k") == {"v": expected}


async def test_elements_of_an_array_are_applied_in_order_and_fail_alone(ask: Ask) -> None:
    body = [{"_key": "k", "n": 1}, {"_key": "k", "n": 2}, {"_key": "é"}, 7, {"_key": "m"}, {"_key": 1}]

    status, answer = await ask("POST", f"{C}?overwriteMode=replace&returnOld=true", body)

    assert status == 202
    assert answer[1]["old"]["n"] == 1
    assert [element.get("errorNum") for element in answer] == [None, None, 1221, 1227, None, 1221]
    assert await stored(ask, "k") == {"n": 2}
    assert await stored(ask, "m") == {}


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ([{"_key": "a"}], {}),
        ([{"_key": "a"}, {"_key": ""}], [{"error": True, "errorNum": 1221, "errorMessage": "illegal document key"}]),
        ({"_key": "a"}, {}),
    ],
)
async def test_a_silent_write_answers_with_errors_alone(ask: Ask, body: Any, answer: Any) -> None:
    assert await ask("POST", f"{C}?silent=1", body) == (202, answer)


@pytest.mark.parametrize(("verb", "status"), [("PUT", 202), ("PATCH", 202), ("DELETE", 202)])
async def test_a_revision_guards_a_write(ask: Ask, verb: str, status: int) -> None:
    _, first = await ask("POST", C, {"_key": "k"})
    _, second = await ask("PUT", f"{C}/k", {"n": 1})

    refused, answer = await ask(verb, f"{C}/k", {"n": 2}, If_Match=f'"{first["_rev"]}"')
    assert (refused, answer["errorNum"], answer["_rev"]) == (412, 1200, second["_rev"])
    body = [{"_key": "k", "_rev": first["_rev"]}]
    assert (await ask(verb, f"{C}?ignoreRevs=false", body))[1][0]["errorNum"] == 1200
    assert (await ask(verb, f"{C}/k", {"n": 2}, If_Match=second["_rev"]))[0] == status


async def test_null_is_kept_unless_it_is_told_otherwise(ask: Ask) -> None:
    await ask("POST", C, {"_key": "k", "a": 1, "o": {"x": 1, "y": 2}})

    await ask("PATCH", f"{C}/k?keepNull=false", {"a": None, "o": {"x": None}})
    assert await stored(ask, "k") == {"o": {"y": 2}}
    await ask("PATCH", f"{C}/k", {"a": None})
    assert await stored(ask, "k") == {"a": None, "o": {"y": 2}}


async def test_whole_doubles_read_back_without_a_fraction(ask: Ask) -> None:
    await ask("POST", C, b'{"_key": "k", "a": 100.0, "b": [0.0, 1.5], "c": 1e9, "d": 12345678.0}')

    _, text = await ask("GET", f"{C}/k")
    kinds = {name: type(text[name]) for name in "acd"}
    assert kinds == {"a": int, "c": float, "d": int}
    assert [type(item) for item in text["b"]] == [int, float]


async def test_a_unique_value_is_stored_once_and_free_again_when_it_is_gone(ask: Ask) -> None:
    await ask("POST", "/_api/index?collection=c", {"type": "persistent", "fields": ["a.b"], "unique": True})
    await ask("POST", C, {"_key": "k", "a": {"b": 1}})

    status, answer = await ask("POST", f"{C}?overwriteMode=replace", {"_key": "other", "a": {"b": 1.0}})
    assert (status, answer["errorNum"]) == (409, 1210)
    assert "over 'a.b'; conflicting key: k" in answer["errorMessage"]
    assert (await ask("PUT", f"{C}/k", {"a": {"b": 2}}))[0] == 202
    assert (await ask("POST", C, {"_key": "other", "a": {"b": 1}}))[0] == 202
    assert (await ask("PATCH", f"{C}/other", {"a": {"b": 2}}))[0] == 409
    await ask("DELETE", f"{C}/k")
    assert (await ask("PATCH", f"{C}/other", {"a": {"b": 2}}))[0] == 202


@pytest.mark.parametrize(("level", "inserts", "changes"), [("strict", 400, 400), ("new", 400, 202), ("none", 202, 202)])
async def test_a_schema_refuses_by_its_level(ask: Ask, level: str, inserts: int, changes: int) -> None:
    await ask("POST", C, {"_key": "good", "n": 1})
    rule = {"type": "object", "properties": {"n": {"type": "number"}}, "required": ["n"]}
    schema = {"rule": rule, "level": level, "message": "n is a number"}
    assert (await ask("PUT", "/_api/collection/c/properties", {"schema": schema}))[0] == 200

    status, answer = await ask("POST", C, {"_key": "bad", "n": "1"})
    assert status == inserts
    if status == 400:
        assert (answer["errorNum"], answer["errorMessage"]) == (1620, "n is a number")
    assert (await ask("PUT", f"{C}/good", {"n": "1"}))[0] == changes


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "number"),
    [
        ("GET", f"{C}/no", None, 404, 1202),
        ("DELETE", f"{C}/no", None, 404, 1202),
        ("PATCH", f"{C}/no", {}, 404, 1202),
        ("POST", "/_api/document/no", {}, 404, 1203),
        ("POST", C, b"{", 400, 600),
        ("POST", C, "text", 400, 1227),
        ("PUT", C, {}, 400, 1227),
        ("POST", "/_db/no/_api/document/c", {}, 404, 1228),
        ("GET", "/_api/nothing", None, 404, 404),
        ("POST", "/_api/collection", {"name": "c"}, 409, 1207),
        ("POST", "/_api/collection", {"name": "1c"}, 400, 1208),
        ("POST", "/_api/collection", {"name": "d", "schema": {"rule": {"type": "nonsense"}}}, 400, 1621),
        ("POST", "/_api/collection", {"name": "d", "keyOptions": {"type": "nonsense"}}, 400, 1232),
    ],
)
async def test_what_cannot_be_done_has_its_number(
    ask: Ask, method: str, path: str, body: Any, status: int, number: int
) -> None:
    found, answer = await ask(method, path, body)

    assert (found, answer["code"], answer["errorNum"], answer["error"]) == (status, status, number, True)


async def test_edges_need_both_ends(ask: Ask) -> None:
    await ask("POST", "/_api/collection", {"name": "e", "type": 3})

    assert (await ask("POST", "/_api/document/e", {"_from": "c/a"}))[1]["errorNum"] == 1233
    assert (await ask("POST", "/_api/document/e", {"_from": "c/a", "_to": "b"}))[1]["errorNum"] == 1233
    assert (await ask("POST", "/_api/document/e", {"_from": "c/a", "_to": "c/b"}))[0] == 202


async def test_a_running_transaction_hides_its_writes_and_locks_their_keys(ask: Ask) -> None:
    _, begun = await ask("POST", "/_api/transaction/begin", {"collections": {"write": "c"}})
    number = begun["result"]["id"]
    await ask("POST", C, {"_key": "k"}, x_arango_trx_id=number)

    assert (await ask("GET", f"{C}/k"))[0] == 404
    assert (await ask("GET", f"{C}/k", x_arango_trx_id=number))[0] == 200
    status, answer = await ask("POST", C, {"_key": "k"})
    assert (status, answer["errorNum"]) == (409, 1200)
    assert (await ask("PUT", f"/_api/transaction/{number}"))[1]["result"]["status"] == "committed"
    assert (await ask("GET", f"{C}/k"))[0] == 200
    assert (await ask("DELETE", f"{C}/k", None, x_arango_trx_id=number))[1]["errorNum"] == 1655
