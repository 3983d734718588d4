"""The kinds of order books: diffs, whole books and best levels, and how streams give them."""

from __future__ import annotations

import msgspec
import pytest

from streamforge_utils.model.books.streams import BookHeard
from streamforge_utils.model.completeness.continuity import Continuity
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds import registry
from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.model.series import Series
from tests.doubles.market import START_MS, Market

DEPTH, CHECKPOINT, TOP = (registry.kind_named(name) for name in ("depth", "depth_checkpoint", "depth_top"))
SERIES = Series("BTCUSDT", "depth")
STREAMS = DEPTH.streaming


@pytest.mark.parametrize("spelling", ["ws_orderbook", "ws_depth", "ws_diff_depth"])
def test_the_first_generation_s_types_are_one_type(spelling: str) -> None:
    assert registry.normal_type(spelling) == "ws_orderbook"
    assert registry.series_of("BTCUSDT", spelling) == SERIES
    assert registry.check_series("btcusdt", spelling) == ("BTCUSDT", "ws_orderbook")
    assert DEPTH.is_endless(spelling)
    assert DEPTH.rule(SERIES) == Continuity()


def test_keys_are_those_of_the_first_generation_and_sort_as_their_places_do() -> None:
    assert DEPTH.key(SERIES, 50093239224) == "BTCUSDT_050093239224"
    assert CHECKPOINT.key(SERIES, 50093239224) == "BTCUSDT_checkpoint_050093239224"
    assert TOP.key(SERIES, START_MS) == f"BTCUSDT_orderbook_{START_MS}"
    assert TOP.position_of(f"BTCUSDT_orderbook_{START_MS}") == START_MS
    assert registry.kind_of_collection("btcusdt_ws_orderbook_2024_08_01") is DEPTH
    assert registry.kind_of_collection("btcusdt_ws_depth_top_2024_08_01") is TOP


def body(kind: RecordKind, **changed: object) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(kind.example, **changed))


@pytest.mark.parametrize("kind", [DEPTH, CHECKPOINT, TOP])
def test_prices_and_quantities_travel_as_text_and_are_stored_as_numbers(kind: RecordKind) -> None:
    key, _, stored = kind.document(kind.example.key.encode(), body(kind))
    document = msgspec.json.decode(stored)
    assert document["bids"][0] == [61837.63, 3.78826]
    assert registry.kind_of_document(key, stored) is kind
    assert kind.time_of(stored) == 1723161255408
    records = kind.records([key.encode()], [body(kind)]) or []
    assert [(one.key, one.version) for one in records] == [(key, kind.example.version)]
    assert kind.bodies(records) == [stored]


@pytest.mark.parametrize(
    ("kind", "changed", "says"),
    [
        (DEPTH, {"event_time": 1723161255408000}, "13 digits"),
        (DEPTH, {"first_update_id": 50093239225}, "are none"),
        (DEPTH, {"bids": [("1.0", "-1.0")]}, "bids"),
        (DEPTH, {"bids": [("0.0", "1.0")]}, "a price is 0"),
        (CHECKPOINT, {"timestamp": 1723161255408000}, "13 digits"),
        (CHECKPOINT, {"asks": [("61838.0", "0.0")]}, "a quantity is 0"),
        (CHECKPOINT, {"asks": [("61837.63", "1.0")]}, "crossed"),
        (TOP, {"timestamp": 1723161255, "key": "BTCUSDT_orderbook_0001723161255"}, "13 digits"),
        (TOP, {"asks": [("61837.63", "1.0")]}, "crossed"),
    ],
)
def test_a_record_that_cannot_be_true_is_refused(kind: RecordKind, changed: dict[str, object], says: str) -> None:
    with pytest.raises(PermanentError, match=says):
        kind.document(None, body(kind, **changed))
    assert kind.records([kind.example.key.encode()], [body(kind, **changed)]) is None


def test_streams_give_the_messages_of_the_series_and_pass_on_what_is_none() -> None:
    assert STREAMS is not None
    assert STREAMS.streams(SERIES) == ("btcusdt@depth@100ms", "btcusdt@bookTicker")
    world = Market(1, 40)
    ticker, diffs = world.ticker(30), [world.diff(1, 7), world.diff(8, 9)]
    eth = diffs[0].replace(b"BTCUSDT", b"ETHUSDT")
    broken = diffs[0][:-3]
    assert ticker is not None
    heard = STREAMS.read([diffs[0], ticker, eth, broken, diffs[1], b"{}"], SERIES, START_MS + 5)
    assert isinstance(heard, BookHeard)
    assert (heard.positions, heard.times) == ([7, 9], [START_MS + 700, START_MS + 900])
    assert heard.others == [ticker, eth, b"{}"]
    assert [payload for payload, _ in heard.messages] == [diffs[0], ticker, broken, diffs[1]]
    assert str(heard.messages[2][1]).startswith("not a message about an order book")
    assert heard.broken == 1
