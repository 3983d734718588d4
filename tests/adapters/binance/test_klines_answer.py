"""Answers of `klines` turned into candles."""

from __future__ import annotations

import random
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.candles import encode_candle
from streamforge_utils.model.kinds.candles.klines_answer import Rows, read_page, read_rows
from streamforge_utils.model.kinds.paging import ByTime, MalformedPage, SentRequest
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from tests.adapters.binance.scripted import Row, row, rows
from tests.doubles.candles import page_of, stored_document

MINUTE = 60_000
START = 1_722_470_400_000
NOW = START + 10_000 * MINUTE
WHOLE = TimeRange(START, NOW)


def asked_for(
    observed_ms: int = NOW,
    local_ms: int = NOW,
    *,
    span: TimeRange = WHOLE,
    limit: int = 1000,
    newest: bool = False,
    symbol: str = "BTCUSDT",
) -> SentRequest:
    return SentRequest(
        series=Series(symbol, "candles", "1m"),
        question=ByTime(span, newest=newest),
        sent=ByTime(TimeRange(0, span.end_ms) if newest else span, newest=newest),
        limit=limit,
        observed_ms=observed_ms,
        local_ms=local_ms,
    )


def read(answer: list[Row] | bytes, **asked: Any) -> Rows:
    return read_both(answer if isinstance(answer, bytes) else msgspec.json.encode(answer), asked_for(**asked))


def read_both(body: bytes, asked: SentRequest) -> Rows:
    """The page, after a look that its records say the same; both refuse an answer, or neither."""
    try:
        page = read_rows(body, asked)
    except MalformedPage as error:
        with pytest.raises(MalformedPage, match=re.escape(str(error))):
            read_page(body, asked)
        raise
    found = read_page(body, asked)
    assert found == msgspec.structs.replace(page_of(page.candles), dropped=page.dropped)
    return page


def opens(page: Rows) -> list[int]:
    return [candle.open_time for candle in page.candles]


@given(st.data())
def test_disorder_and_repetition_leave_each_row_once_in_order(data: st.DataObject) -> None:
    made = rows(START, data.draw(st.integers(1, 30)))
    harmed = data.draw(st.permutations(made + data.draw(st.lists(st.sampled_from(made), max_size=10))))
    page = read(harmed)
    assert opens(page) == [r[0] for r in made]
    assert page.dropped.get("duplicate", 0) == len(harmed) - len(made)
    assert ("disorder" in page.dropped) == ([r[0] for r in harmed] != sorted(int(r[0]) for r in harmed))


def test_rows_outside_what_was_asked_are_dropped_and_counted() -> None:
    span = TimeRange(START + 2 * MINUTE, START + 5 * MINUTE)
    page = read(rows(START, 10), span=span)
    assert opens(page) == [START + k * MINUTE for k in (2, 3, 4)]
    assert page.dropped == {"outside": 7}


def test_rows_before_the_span_are_expected_of_the_newest() -> None:
    span = TimeRange(START + 2 * MINUTE, START + 5 * MINUTE)
    page = read(rows(START, 5), span=span, newest=True)
    assert (opens(page), page.dropped) == ([START + k * MINUTE for k in (2, 3, 4)], {})


def test_of_too_many_rows_the_oldest_or_the_newest_stay() -> None:
    assert opens(read(rows(START, 5), limit=2)) == [START, START + MINUTE]
    assert opens(read(rows(START, 5), limit=2, newest=True)) == [START + 3 * MINUTE, START + 4 * MINUTE]


def test_bars_off_the_grid_and_holes_are_kept() -> None:
    made = [row(START, START + 40_773), row(START + 90_500, START + 119_999), row(START + 7 * MINUTE)]
    assert opens(read(made)) == [START, START + 90_500, START + 7 * MINUTE]


def test_a_row_that_says_it_ends_later_is_believed() -> None:
    page = read([row(START), row(START + MINUTE, NOW), row(START + 2 * MINUTE)])
    assert (opens(page), page.dropped) == ([START, START + 2 * MINUTE], {"open": 1})


@pytest.mark.parametrize(
    ("close_ms", "observed_ms", "closed"),
    [
        (MINUTE - 1, MINUTE - 1, False),  # it closes in the very millisecond of the observation
        (MINUTE - 1, MINUTE, True),
        (10_000, MINUTE - 1, False),  # cut short by an outage: its whole length counts
        (10_000, MINUTE, True),
        (2 * MINUTE, 2 * MINUTE, False),  # it says that it ends later than its length
        (2 * MINUTE, 2 * MINUTE + 1, True),
    ],
)
def test_a_bar_is_closed_from_the_millisecond_after_its_end_on(close_ms: int, observed_ms: int, closed: bool) -> None:
    body = msgspec.json.encode([row(START, START + close_ms)])
    page = read_both(body, asked_for(START + observed_ms, START + 10 * MINUTE))
    assert (opens(page), page.dropped) == (([START], {}) if closed else ([], {"open": 1}))


@pytest.mark.parametrize(("local_ms", "closed"), [(MINUTE - 1, False), (MINUTE, True)])
def test_a_bar_that_closes_in_this_millisecond_of_the_local_clock_is_doubtful(local_ms: int, closed: bool) -> None:
    body = msgspec.json.encode([row(START)])
    page = read_both(body, asked_for(START + 10 * MINUTE, START + local_ms))
    assert (opens(page), page.dropped) == (([START], {}) if closed else ([], {"doubtful": 1, "open": 1}))


def test_microseconds_are_normalised() -> None:
    micro = [
        [*r[:1], *r[1:6], int(r[6]) * 1000 + 999, *r[7:]] for r in ([int(r[0]) * 1000, *r[1:]] for r in rows(START, 3))
    ]
    page = read(micro)
    assert opens(page) == [START, START + MINUTE, START + 2 * MINUTE]
    assert page.candles[0].close_time == START + 59_999


NUMBER_FIELDS = ["open", "high", "low", "close", "volume", "quote_volume", "taker_base", "taker_quote"]
BAD_NUMBERS = ["", "nan", "NaN", "inf", "-inf", "Infinity", "-1", "+1", " 1", "1 ", "1e5", "1_0", "0x1", "1,2", "1.2.3"]
BAD_NUMBERS += [".5", "5.", "007", "١", "1\n", "null", "9" * 400]


@pytest.mark.parametrize("field", NUMBER_FIELDS)
@pytest.mark.parametrize("text", BAD_NUMBERS)
def test_what_is_no_decimal_number_is_refused_by_row_and_value(field: str, text: str) -> None:
    made = rows(START, 5)
    made[3] = row(START + 3 * MINUTE, None, **{field: text})
    with pytest.raises(MalformedPage, match=rf"^row 3 \(open time {START + 3 * MINUTE}\), column \d+: .* no decimal"):
        read(made)


BAD_ROWS: dict[str, list[object]] = {
    "too short": [*row(START)[:-1]],
    "too long": [*row(START), "0"],
    "a number for a text": [*row(START, open=1)],
    "a text for a time": [*row(START)[:6], "x", *row(START)[7:]],
    "null": [None, *row(START)[1:]],
    "a fraction of a time": [START + 0.5, *row(START)[1:]],
    "seconds": [*row(START // 1000, START // 1000 + 59)],
    "nanoseconds": [*row(START * 10**6, START * 10**6 + 1)],
    "it ends before it begins": [*row(START, START)],
    "its end is in microseconds": [*row(START, START * 1000)],
    "negative trades": [*row(START, trades=-1)],
    "no row": [],
}


@pytest.mark.parametrize("kind", BAD_ROWS)
def test_a_row_of_the_wrong_shape_is_refused(kind: str) -> None:
    with pytest.raises(MalformedPage, match=r"\[1\]|^row [01]\b"):
        read(msgspec.json.encode([row(START + MINUTE), BAD_ROWS[kind]]))


def test_mixed_units_and_contradictions_are_refused() -> None:
    with pytest.raises(MalformedPage, match=r"row 1: open time \d{16} is not in milliseconds"):
        read([row(START), row(START * 1000, START * 1000 + 1)])
    with pytest.raises(MalformedPage, match=f"two different rows open at {START}"):
        read([row(START), row(START, high="777")])


def test_an_empty_page_and_a_page_that_is_none() -> None:
    assert read([]).candles == []
    for body in (b"", b"{}", b"null", b"[[]]", b"[1]", b"<html>", b"\xff"):
        with pytest.raises(MalformedPage):
            read(body)


@given(
    texts=st.lists(st.from_regex(r"(0|[1-9][0-9]{0,12})(\.[0-9]{1,12})?", fullmatch=True), min_size=8, max_size=8),
    symbol=st.sampled_from(["BTCUSDT", "1INCHUSDT", "这是测试币456", "A.B-C"]),
)
def test_what_is_let_through_can_be_stored_as_it_is(texts: list[str], symbol: str) -> None:
    candle = read([row(START, None, **dict(zip(NUMBER_FIELDS, texts, strict=True)))], symbol=symbol).candles[0]
    key, version, body = stored_document(candle.key.encode(), encode_candle(candle))
    assert (key, version) == (candle.key, NOW)
    stored = msgspec.json.decode(body)
    assert [stored[f] for f in ("open", "high", "low", "close", "volume")] == [float(t) for t in texts[:5]]


@given(st.dictionaries(st.sampled_from(NUMBER_FIELDS), st.text(max_size=6), min_size=1, max_size=3))
def test_any_text_is_either_refused_or_storable(changes: dict[str, str]) -> None:
    try:
        candles = read([row(START), row(START + MINUTE, None, **changes)]).candles
    except MalformedPage:
        return
    for candle in candles:
        try:
            stored_document(candle.key.encode(), encode_candle(candle))
        except PermanentError as error:  # pragma: no cover
            pytest.fail(f"let through but not storable: {changes}: {error}")


def test_pages_cut_anywhere_are_refused() -> None:
    body = msgspec.json.encode(rows(START, 3))
    for end in random.Random(1).sample(range(1, len(body)), 50):
        with pytest.raises(MalformedPage):
            read(body[:end])


def plain_body(count: int) -> bytes:
    """A page in the exchange's own spelling."""
    return msgspec.json.encode([row(START + n * MINUTE) for n in range(count)])


@pytest.mark.parametrize("symbol", ["BTCUSDT", "这是测试币456", "A%B"])
def test_a_plain_page_becomes_records_without_becoming_candles(symbol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asked_for(symbol=symbol)
    expected = page_of(read_rows(plain_body(1000), asked).candles)
    monkeypatch.setattr("streamforge_utils.model.kinds.candles.klines_answer.read_rows", None)
    assert read_page(plain_body(1000), asked) == expected


@given(st.data())
def test_a_page_with_some_bytes_changed_reads_the_same_both_ways(data: st.DataObject) -> None:
    body = bytearray(plain_body(3))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body) - 1))
        with_bytes = data.draw(
            st.sampled_from([b"", b"0", b"9", b".", b",", b"]", b"[", b'"', b" ", b"-", b"e", b"],["])
        )
        body[at : at + data.draw(st.integers(0, 2))] = with_bytes
    try:
        read(bytes(body))
    except MalformedPage:
        return


@given(observed_ms=st.integers(START, START + 6 * MINUTE), local_ms=st.integers(START, START + 6 * MINUTE))
def test_what_is_closed_is_the_same_both_ways(observed_ms: int, local_ms: int) -> None:
    span = TimeRange(START + MINUTE, START + 4 * MINUTE)
    for limit in (2, 1000):
        asked = asked_for(observed_ms, local_ms, span=span, limit=limit)
        for count in (1, 2, 3, 5):
            read_both(plain_body(count), asked)
            read_both(msgspec.json.encode([row(START + (n + 1) * MINUTE) for n in range(count)]), asked)
