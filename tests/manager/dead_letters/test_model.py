"""The code of each reason that a sink or a store gives."""

from __future__ import annotations

import msgspec
import pytest

from streamforge.manager.dead_letters.model import LetterCode, code_of
from streamforge_utils.model.documents import refusal
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.json_documents import JsonDocuments
from streamforge_utils.ports.bus import Message
from streamforge_utils.runtime.output.topic_writer import _cut
from tests.doubles.candles import stored_document
from tests.e2e.test_dead_letters import record

ONE = record("BTCUSDT", 1_714_521_600_000)
NOT_A_RECORD, CONTRADICTORY = LetterCode.NOT_A_RECORD, LetterCode.CONTRADICTORY


def told(convert: object, *of: object) -> str:
    with pytest.raises(PermanentError) as raised:
        convert(*of)  # type: ignore[operator]
    return str(raised.value)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("no JSON", NOT_A_RECORD),
        ({**ONE, "open": []}, NOT_A_RECORD),
        ({**ONE, "_key": "BTCUSDT_1m_1"}, CONTRADICTORY),
    ],
)
def test_what_is_no_candle(value: object, code: LetterCode) -> None:
    body = value.encode() if isinstance(value, str) else json_of(value)
    assert code_of(told(stored_document, None, body)) == code


def test_a_candle_under_the_key_of_another() -> None:
    assert code_of(told(stored_document, b"another", json_of(ONE))) == CONTRADICTORY


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"no JSON",
        b"\xff",
        b"[1]",
        b'{"a":1,"a":2}',
        b'{"a":' * 300 + b"1" + b"}" * 300,
        b'{"_from":"a/1"}',
        b'{"_key":"a/b"}',
        b'{"_key":1}',
        b'{"_version":"x"}',
        b'{"a":99999999999999999999}',
    ],
)
def test_what_is_no_object_that_can_be_kept(value: bytes) -> None:
    assert code_of(told(JsonDocuments().document, value, 0)) == NOT_A_RECORD


def test_what_does_not_fit_a_schema() -> None:
    documents = JsonDocuments('{"required":["id"]}')
    assert code_of(told(documents.document, b"{}", 0)) == LetterCode.SCHEMA_UNMET


@pytest.mark.parametrize(
    "document", [("a/b", 0, b"{}"), ("a", 0, b"[]"), ("a", -1, b"{}"), ("a", 0, b"{" + b" " * 2**24 + b"}")]
)
def test_what_a_store_refuses(document: tuple[str, int, bytes]) -> None:
    assert code_of(refusal(*document) or "") == LetterCode.STORE_REFUSED


def test_what_is_too_large_and_what_a_worker_of_others_says() -> None:
    cut = _cut(Message(None, b"x" * 2_000_000, (("reason", b"it is no JSON: x"),)))
    assert code_of(dict(cut.headers)["reason"].decode()) == LetterCode.TOO_LARGE
    assert (code_of(""), code_of("my own reason")) == (LetterCode.OTHER, LetterCode.OTHER)


def json_of(value: object) -> bytes:
    return msgspec.json.encode(value)
