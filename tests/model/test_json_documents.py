"""Which messages become documents, under which key, and why others are refused."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamforge_utils.model.documents import KEY_LIMIT, is_key
from streamforge_utils.model.errors import InvalidInput, PermanentError
from streamforge_utils.model.json_documents import (
    HASH_DIGITS,
    NESTED_AT_MOST,
    SCHEMA_LIMIT,
    JsonDocuments,
    compiled,
    is_marker,
    with_key,
)
from streamforge_utils.model.messages import EOS_KEY, EndOfStream, encode_marker

AT = 1_722_470_400_000
ANY = JsonDocuments()
NAMES = st.text(st.characters(codec="utf-8"), max_size=8).filter(lambda name: not name.startswith("_"))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=5)


@given(OBJECTS, st.randoms(use_true_random=False), st.sampled_from([None, 2]), st.booleans())
def test_a_message_is_one_document_however_it_is_written(
    content: dict[str, Any], order: random.Random, indent: int | None, escaped: bool
) -> None:
    names = list(content)
    order.shuffle(names)
    other = json.dumps({name: content[name] for name in names}, indent=indent, ensure_ascii=escaped).encode()
    key, version, body = ANY.document(json.dumps(content, ensure_ascii=False).encode(), AT)
    assert ANY.document(other, AT)[:2] == (key, version) == (key, AT)
    assert json.loads(body) == content
    assert is_key(key)
    assert len(key) == HASH_DIGITS
    assert ANY.document(body, AT) == (key, version, body)


def test_the_hash_is_that_of_the_sorted_json_for_ever() -> None:
    assert ANY.document(b'{"b": 1, "a": [1.5, "\xd0\xb6"]}', 7) == (
        "86bc31c14f936d97a5b7f9f49202e7e3",
        7,
        '{"b":1,"a":[1.5,"ж"]}'.encode(),
    )


def test_own_key_and_version_are_kept_and_what_another_store_has_added_is_not() -> None:
    found = ANY.document(b'{"_id":"c/x","_key":"x:1","_rev":"_abc","_version":12,"a":1,"_own":2}', AT)
    assert found == ("x:1", 12, b'{"a":1,"_own":2}')
    assert with_key(found[0], found[2]) == b'{"_key":"x:1","a":1,"_own":2}'
    assert with_key("k", b"{}") == b'{"_key":"k"}'


def nested(levels: int) -> bytes:
    return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "empty"),
        (b"  ", "no JSON"),
        (b"hello", "no JSON"),
        (b'{"a":1', "no JSON"),
        (b'{"a":1}{"b":2}', "no JSON"),
        (b"[1,2]", "an array, not a JSON object"),
        (b"42", "a number, not a JSON object"),
        (b'"text"', "a text, not a JSON object"),
        (b"null", "null, not a JSON object"),
        (b"true", "true, not a JSON object"),
        (b'{"a":NaN}', "no JSON"),
        (b'{"a":-Infinity}', "no JSON"),
        (b'{"a":1e999}', "out of range"),
        (b'{"a":18446744073709551616}', "more than 64 bits"),
        (b'{"a":' + b"9" * 5000 + b"}", "out of range"),
        (b'{"a":1,"b":{"c":1,"c":2}}', "'c' twice"),
        (b'{"_key":"a","_key":"b"}', "'_key' twice"),
        (b'{"a":"\xff\xfe"}', "no JSON"),
        (b'{"\xc3\x28":1}', "no JSON"),
        (b'{"a":"\\ud800"}', "no JSON"),
        (b"\xef\xbb\xbf{}", "no JSON"),
        (b'{"_key":1}', "a number, not a text"),
        (b'{"_key":null}', "null, not a text"),
        (b'{"_key":""}', "not legal"),
        (b'{"_key":"a/b"}', "not legal"),
        ('{"_key":"ж"}'.encode(), "not legal"),
        (b'{"_key":"' + b"k" * (KEY_LIMIT + 1) + b'"}', "not legal"),
        (b'{"_from":"a/1","_to":"b/2"}', "_from"),
        (b'{"_to":"b/2"}', "_to"),
        (b'{"_version":"1.2"}', "_version"),
        (b'{"_version":-1}', "_version"),
        (b'{"_version":true}', "_version"),
        (nested(NESTED_AT_MOST + 1), "nested deeper"),
        (nested(100_000), "nested"),
    ],
    ids=range(34),
)
def test_what_cannot_be_stored_is_refused_with_its_reason(value: bytes, reason: str) -> None:
    with pytest.raises(PermanentError) as refused:
        ANY.document(value, AT)
    assert reason in str(refused.value)
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize(
    "value",
    [b"{}", b' {"a":\t1}\n', nested(NESTED_AT_MOST), b'{"a":"' + b"x" * 1_000_000 + b'"}', b'{"":0,"a":{"_from":1}}'],
    ids=["empty object", "spaces", "deep", "large", "inner names"],
)
def test_what_only_looks_odd_is_stored(value: bytes) -> None:
    assert json.loads(ANY.document(value, AT)[2]) == json.loads(value)


SCHEMA = '{"type":"object","required":["id"],"properties":{"id":{"type":"integer"},"name":{"pattern":"^(a+)+$"}}}'


def test_a_schema_refuses_what_does_not_fit_it_and_says_where() -> None:
    documents = JsonDocuments(SCHEMA)
    assert documents.document(b'{"id":1,"_key":"x"}', AT) == ("x", AT, b'{"id":1}')
    for value, told in ((b'{"id":"1"}', "/id"), (b"{}", '"id" is a required'), (b'{"id":1,"name":"b"}', "/name")):
        with pytest.raises(PermanentError, match="does not fit the JSON Schema") as refused:
            documents.document(value, AT)
        assert told in str(refused.value)
    # In time: a backtracking engine would need 2^40 steps.
    with pytest.raises(PermanentError, match="/name"):
        documents.document(b'{"id":1,"name":"' + b"a" * 40 + b'!"}', AT)


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ("{", "no JSON"),
        ("[]", "an array"),
        ('{"type":"nothing"}', "not acceptable"),
        ('{"$ref":"http://localhost/x.json"}', "nothing is fetched"),
        ('{"$ref":"file:///etc/passwd"}', "nothing is fetched"),
        ('{"pattern":"("}', "not acceptable"),
        ('{"description":"' + "x" * SCHEMA_LIMIT + '"}', "longer than"),
    ],
)
def test_a_schema_that_is_none_is_refused(schema: str, told: str) -> None:
    with pytest.raises(InvalidInput, match=told) as refused:
        compiled(schema)
    assert refused.value.field == "json_schema"


def test_a_marker_is_one_by_its_key_and_its_content() -> None:
    marker = encode_marker(EndOfStream(producer="p", attempt=1, records=3, reason="finished"))
    assert is_marker(EOS_KEY, marker)
    assert not is_marker(b"other", marker)
    assert not is_marker(EOS_KEY, b'{"a":1}')
    assert not is_marker(None, marker)
