"""Commands, events and markers: what is written reads back, what is foreign is refused or ignored."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.candles import KIND
from streamforge_utils.model.messages import (
    EOS_KEY,
    TERMINAL_EVENTS,
    Command,
    EndOfStream,
    Event,
    Progress,
    decode_command,
    decode_event,
    decode_marker,
    encode_command,
    encode_event,
    encode_marker,
    progress_of,
)
from tests.doubles.candles import decode_candle, stored_document

texts = st.text(st.characters(codec="utf-8"), max_size=20)
moments = st.floats(0, 1e11)
small = st.integers(0, 2**53)
payloads = st.dictionaries(texts, st.none() | st.booleans() | small | texts | moments, max_size=4)
commands = st.builds(
    Command,
    command=texts,
    queue_id=texts,
    target=st.none() | texts,
    telemetry_id=st.none() | texts,
    symbol=st.none() | texts,
    type=st.none() | texts,
    attempt=st.none() | small,
    timestamp=st.none() | moments,
    sent_at=st.none() | moments,
    payload=st.none() | payloads,
)
events = st.builds(
    Event,
    event=st.sampled_from(["started", "loading", "finished", "interrupted", "error", "pong"]),
    status=st.none() | st.sampled_from(["started", "loading", "finished", "interrupted", "error"]),
    queue_id=texts,
    producer=texts,
    target=texts,
    symbol=texts,
    attempt=small,
    records_written=small,
    finished=st.booleans(),
    timestamp=moments,
    error_message=st.none() | texts,
    extra=st.none() | payloads,
    ping_ts=st.none() | moments,
)
markers = st.builds(
    EndOfStream, producer=texts, attempt=small, records=small, reason=st.sampled_from(["finished", "interrupted"])
)


@given(commands, events, markers)
def test_what_is_written_reads_back(command: Command, event: Event, marker: EndOfStream) -> None:
    assert decode_command(encode_command(command)) == command
    assert decode_event(encode_event(event)) == event
    assert decode_marker(encode_marker(marker)) == marker


def test_the_forms_of_the_design() -> None:
    marker = EndOfStream(producer="loader-api-candles__abc123", attempt=2, records=1440, reason="finished")
    assert EOS_KEY == b"__eos__"
    assert msgspec.json.decode(encode_marker(marker)) == {
        "end_of_stream": {
            "producer": "loader-api-candles__abc123",
            "attempt": 2,
            "records": 1440,
            "reason": "finished",
        }
    }
    pong = Event(event="pong", queue_id="q", producer="p", target="t", ping_ts=1.5, ponged_at=2.5)
    written = msgspec.json.decode(encode_event(pong))
    assert (written["ping_ts"], written["ponged_at"]) == (1.5, 2.5)
    assert "status" not in written
    assert frozenset({"finished", "interrupted", "error"}) == TERMINAL_EVENTS


def test_a_command_says_when_it_was_sent_under_either_name() -> None:
    assert decode_command(b'{"command":"ping","queue_id":"q","sent_at":7.5}').sent == 7.5
    assert decode_command(b'{"command":"ping","queue_id":"q","timestamp":3}').sent == 3
    assert decode_command(b'{"command":"ping","queue_id":"q"}').sent is None


@given(st.sampled_from(["q", "*", "other"]), st.sampled_from([None, "t", "u"]), st.sampled_from([None, "i", "j"]))
def test_who_a_command_is_meant_for(queue: str, target: str | None, telemetry: str | None) -> None:
    command = Command(command="stop", queue_id=queue, target=target, telemetry_id=telemetry)
    assert command.meant_for("q", "t", "i") == (queue != "other" and target != "u" and telemetry != "j")


def test_unknown_fields_and_commands_pass_but_wrong_types_do_not() -> None:
    assert decode_command(b'{"command":"dance","queue_id":"*","new":[1]}').command == "dance"
    for value in (
        b'{"command":"stop"}',
        b'{"command":1,"queue_id":"q"}',
        b'{"command":"stop","queue_id":"q","attempt":"1"}',
    ):
        with pytest.raises(PermanentError, match=r"not a command: .*(queue_id|command|attempt)"):
            decode_command(value)
    with pytest.raises(PermanentError, match="not an event"):
        decode_event(b'{"event":"dancing","queue_id":"q","producer":"p","target":"t"}')
    with pytest.raises(PermanentError, match="not an end-of-stream marker"):
        decode_marker(b'{"end_of_stream":{"producer":"p","attempt":1,"records":1,"reason":"bored"}}')


@given(st.binary(max_size=50))
def test_any_bytes_are_a_permanent_error(value: bytes) -> None:
    for decode in (decode_command, decode_event, decode_marker):
        with pytest.raises(PermanentError):
            decode(value)


HOSTILE = {
    "no UTF-8": b'{"command":"\xff\xfe","event":"pong","producer":"\xff","end_of_stream":{"producer":"\xff"}}',
    "nested without end": b'{"new":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "half a nesting": b'{"new":' + b"[" * 1_000_000,
    "half a surrogate": b'{"command":"\\ud800","event":"\\ud800","end_of_stream":{"producer":"\\ud800"}}',
    "a number without end": b'{"attempt":' + b"9" * 100_000 + b"}",
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_what_json_cannot_hold_is_a_permanent_error_too(value: bytes) -> None:
    for decode in (decode_command, decode_event, decode_marker, decode_candle):
        with pytest.raises(PermanentError):
            decode(value)
    with pytest.raises(PermanentError):
        stored_document(None, value)
    assert KIND.records([None], [value]) is None


@given(
    st.builds(
        Progress,
        records=small,
        position=st.none() | small,
        share=st.none() | st.floats(0, 1),
        rate=st.floats(0, 1e9),
        lag=st.none() | small,
        waiting=st.none() | texts,
        waiting_until=st.none() | moments,
        banned_until_ms=st.none() | small,
    )
)
def test_progress_travels_in_an_event(progress: Progress) -> None:
    extra = msgspec.to_builtins(progress)
    event = Event(event="loading", queue_id="q", producer="p", target="t", extra=extra)
    assert progress_of(decode_event(encode_event(event))) == progress


@pytest.mark.parametrize("extra", [None, {}, {"records": "many"}, {"share": []}, {"else": 1}])
def test_progress_that_cannot_be_read_falls_back(extra: dict[str, Any] | None) -> None:
    event = Event(event="loading", queue_id="q", producer="p", target="t", records_written=0, extra=extra)
    assert progress_of(event) == Progress()
