"""What the exchange says about order books: what is read of it, and what is refused."""

from __future__ import annotations

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from streamforge_utils.model.books.book_messages import BookTicker, DepthDiff, checked, read_message, read_snapshot
from streamforge_utils.model.decimal_texts import ZERO, is_exact, is_number, text_of
from streamforge_utils.model.errors import PermanentError
from tests.doubles.market import message, snapshot
from tests.places import market_data

LEVEL = ("61837.63000000", "3.78826000")
OTHER = b',"other":{"u":1,"b":[["1.0","2.0"]],"a":[["3.0","4.0"]]}}'


def levels_of(payload: bytes) -> bytes:
    diff = read_message(payload)
    assert isinstance(diff, DepthDiff)
    return checked(payload, diff)


def test_a_diff_is_read_and_its_levels_are_kept_as_they_were_written() -> None:
    payload = message(5, 7, [LEVEL, ("0.10000000", "0.00000000")], [])
    diff = read_message(payload)
    assert isinstance(diff, DepthDiff)
    assert (diff.symbol, diff.first_id, diff.last_id) == ("BTCUSDT", 5, 7)
    assert diff.bids == [(61837.63, 3.78826), (0.1, 0.0)]
    assert levels_of(payload) == b'[["61837.63000000","3.78826000"],["0.10000000","0.00000000"]],"asks":[]}'


@pytest.mark.parametrize(
    "payload",
    [
        message(5, 7, [("61837.63", "3.7")], [("61838", "0")], extra=1),
        message(5, 7, [("61837.63", "3.7")], [("61838", "0")], c=[["1", "2"]]),
        message(5, 7, [("61837.63", "3.7")], [("61838", "0")]).replace(b',"a":', b',"c":[["1","2"]],"a":'),
        msgspec.json.format(message(5, 7, [("61837.63", "3.7")], [("61838", "0")]), indent=1),
        b'{"data":{"a":[["61838","0"]],"b":[["61837.63","3.7"]],"u":7,"U":5,"s":"B","E":1723161600000,"e":"depthUpdate"'
        b'},"stream":"b@depth"}',
        message(5, 7, [("61837.63", "3.7")], [("61838", "0")])[:-1] + OTHER,
        message(5, 7, [("61837.63", "3.7")], [("61838", "0")]).replace(b'":[', b'" :[')[:-1] + OTHER,
    ],
)
def test_a_diff_that_is_written_in_another_way_says_the_same(payload: bytes) -> None:
    if b'"e":"depthUpdate"' not in payload:
        payload = payload.replace(b'"e": "depthUpdate"', b'"e":"depthUpdate"')
    assert levels_of(payload) == b'[["61837.63","3.7"]],"asks":[["61838","0"]]}'


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (message(5, 7, [("61837.63000000", "-1.00000000")], []), "Expected `float` >= 0"),
        (message(5, 7, [], [("61837.63000000", "NaN")]), "Expected `float` >= 0"),
        (message(5, 7, [], [("61837.63000000", "Infinity")]), "Expected `float` <= 1e"),
        (message(5, 7, [], [("6.18E4", "1.0")]), "not a price and a quantity"),
        (message(5, 7, [], [("61837.63000000", "1e5")]), "not a price and a quantity"),
        (message(5, 7, [], [("61837.63000000", "")]), "Expected `float`"),
        (message(5, 7, [], [("61837.63000000", "1.2.3")]), "Expected `float`"),
        (message(5, 7, [("0.00000000", "1.00000000")], []), "Expected `float` > 0"),
        (message(5, 7, [LEVEL], [], E=1723161600000000), "13 digits"),
        (message(5, 7, [LEVEL], [], E=1723161600), "13 digits"),
        (message(8, 7, [LEVEL], []), "the updates 8 to 7"),
        (message(0, 7, [LEVEL], []), "the updates 0 to 7"),
        (message(1, 10**9, [LEVEL], []), "too many for one message"),
    ],
)
def test_a_diff_that_cannot_be_true_is_refused(payload: bytes, says: str) -> None:
    with pytest.raises(PermanentError, match=says):
        levels_of(payload)


@pytest.mark.parametrize(
    "payload",
    [
        message(5, 7, [["1.0"]], []),
        message(5, 7, [("-1.0x", "1.0")], []),
        message(5, 7, [LEVEL], [])[:-9],
        message(5, 7, [LEVEL], [], u="seven"),
        b'{"stream":"b@bookTicker","data":{"u":1}}',
    ],
)
def test_a_message_that_cannot_be_read_is_refused(payload: bytes) -> None:
    with pytest.raises(PermanentError, match="not a message about an order book"):
        read_message(payload)


def test_best_prices_are_read_and_other_messages_are_left_to_others() -> None:
    payload = (
        b'{"stream":"btcusdt@bookTicker","data":{"u":7,"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000",'
        b'"a":"61837.64000000","A":"1.54698000"}}'
    )
    assert read_message(payload) == BookTicker(7, "BTCUSDT", 61837.63, 3.78826, 61837.64, 1.54698)
    assert read_message(b'{"stream":"btcusdt@trade","data":{"e":"trade"}}') is None
    assert read_message(b'{"result":null,"id":1}') is None


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (snapshot(7, [("1.0", "0.00000000")], []), "no quantity"),
        (snapshot(7, [("2.0", "2.0")], [("2.0", "1.0")]), "crossed"),
        (snapshot(7, [("-2.0", "2.0")], []), "not a price"),
        (snapshot(7, [("900719925474099.20", "2.0")], []), "more than 15 digits"),
        (b'{"code":-1121,"msg":"Invalid symbol."}', "not a snapshot"),
        (b"<html>", "not a snapshot"),
    ],
)
def test_a_snapshot_that_cannot_be_true_is_refused(body: bytes, says: str) -> None:
    with pytest.raises(PermanentError, match=says):
        read_snapshot(body, 1000)


@pytest.mark.parametrize(
    ("name", "limit", "last_id", "best"),
    [
        ("spot_depth-limit5_BTCUSDT_200_2021-03-24.json", 5, 9_699_548_377, (56902.15, 56905.88)),
        ("spot_depth-limit500_BTCUSDC_200_2019-08-22.yml", 500, 140_857_116, (9907.32, 9915.0)),
    ],
)
def test_recorded_snapshots_are_read(name: str, limit: int, last_id: int, best: tuple[float, float]) -> None:
    text = market_data("http-cassettes", name).read_text()
    if name.endswith(".yml"):
        body = yaml.safe_load(text)["http_interactions"][0]["response"]["body"]["string"]
    else:
        body = msgspec.json.decode(text)[0]["response"]["body"]
    found = read_snapshot(body.encode(), limit)
    assert (found.last_id, len(found.bids), len(found.asks)) == (last_id, limit, limit)
    assert (max(found.bids)[0], min(found.asks)[0]) == best


@given(st.integers(1, 10**15 - 1))
def test_a_price_has_one_text(steps: int) -> None:
    for text in (f"{steps // 10**8}.{steps % 10**8:08}", f"{steps // 100}.{steps % 100:02}000000"):
        assert is_exact(text)
        assert text_of(float(text)) == text


@given(st.from_regex(r"(0|[1-9][0-9]{0,9})(\.[0-9]{1,12})?", fullmatch=True))
def test_every_zero_is_told_from_every_other_number_by_its_text(text: str) -> None:
    assert is_number(text)
    assert (text <= ZERO) == (float(text) == 0)


@pytest.mark.parametrize(
    ("text", "exact"),
    [
        ("1600000000.01000000", True),
        ("0.000000012345678", True),
        ("123456789.12345678", False),
        ("1" + "0" * 15, False),
    ],
)
def test_a_price_of_more_than_15_digits_is_not_told_apart(text: str, exact: bool) -> None:
    assert is_exact(text) == exact
