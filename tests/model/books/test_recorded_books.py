"""Recorded sessions of the exchange: each book against the best prices that the exchange sent for the same updates."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import pytest

from streamforge_utils.model.books.synchroniser import Synchroniser
from streamforge_utils.model.books.trust import BookInterval, Cause, Trust
from streamforge_utils.model.completeness.continuity import chains
from streamforge_utils.model.kinds.registry import kind_named
from tests.doubles.bookbasket import Basket
from tests.places import market_data

RAW = "ws-recordings-raw"
MIDNIGHT = (
    "spot_BTCUSDT_depth+trade+bookTicker_2024-08-08T2354_2024-08-09T0000.gz",
    "spot_BTCUSDT_depth+trade+bookTicker_2024-08-09T0000_2024-08-09T0005.gz",
)
THREE = "spot_BTCUSDT+ETHUSDT+DOTUSDT_depth+kline1m+aggTrade+snapshots_2021-04-04T2003_2021-04-04T2004.txt"
FOUR = "spot_NKNUSDT+BLZETH+LRCBTC+RUNEEUR_depth+kline1m+aggTrade+bookTicker_2021-10-12T0028_2021-10-12T0029.txt"
FOUR_SNAPSHOTS = "spot_NKNUSDT+BLZETH+LRCBTC+RUNEEUR_depth-snapshots-limit1000_2021-10-12T0028.txt"


def lines(name: str) -> Iterator[tuple[int, str, bytes]]:
    """What was recorded: when, unix microseconds, of which symbol, if it is a snapshot, and the JSON."""
    path = market_data(RAW, name)
    whole = gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()
    for line in whole.splitlines():
        head, _, body = line.partition(b"{")
        body = b"{" + body
        if name.endswith(".gz"):
            yield int(head) // 1000, "BTCUSDT" if body.startswith(b'{"lastUpdateId"') else "", body
        elif line.startswith(b"http"):
            at_s = float(head.rpartition(b"-> ")[2].rstrip(b": "))
            yield round(at_s * 1e6), head.partition(b"symbol=")[2].partition(b"&")[0].decode(), body
        elif line and not line.startswith(b"wss"):
            yield round(float(head.rstrip(b": ")) * 1e6), "", body


class Session:
    """The books of a recorded session. limit: what its snapshots were asked for with."""

    def __init__(self, *symbols: str, limit: int = 1000) -> None:
        self.books = {symbol: Synchroniser(symbol) for symbol in symbols}
        self.basket, self.limit = Basket(self.books.values()), limit
        self.intervals: dict[str, list[BookInterval]] = {symbol: [] for symbol in symbols}
        self.kinds: dict[str, list[str]] = {symbol: [] for symbol in symbols}

    def run(self, *names: str) -> None:
        for at_us, symbol, body in sorted((one for name in names for one in lines(name)), key=lambda one: one[0]):
            if symbol:
                self.books[symbol].hear_snapshot(body, self.limit, at_us // 1000)
            else:
                assert [reason for _, reason in self.basket.hear([body], at_us, 1) if reason] == []
        for symbol, book in self.books.items():
            taken = book.take()
            assert taken.refused == []
            for key, value in zip(taken.keys, taken.values, strict=True):
                name = (
                    "depth_top" if b"_orderbook_" in key else "depth_checkpoint" if b"known_low" in value else "depth"
                )
                kind_named(name).document(key, value)
                self.kinds[symbol].append(name)
            self.intervals[symbol] += taken.intervals

    def told(self, symbol: str) -> list[BookInterval]:
        last = self.books[symbol].ledger.open()
        assert last is not None
        return [*self.intervals[symbol], last]

    def messages(self, symbol: str) -> dict[tuple[Trust, str], int]:
        found: dict[tuple[Trust, str], int] = {}
        for one in self.told(symbol):
            found[one.trust, one.why] = found.get((one.trust, one.why), 0) + one.messages
        return found

    def best(self, symbol: str) -> tuple[tuple[float, float], ...]:
        book = self.books[symbol].book
        assert book is not None
        return tuple((float(price), float(quantity)) for side in book.top(1) for price, quantity in side)


AWAITING, BEYOND = (Trust.UNVERIFIABLE, Cause.AWAITING), (Trust.UNVERIFIABLE, Cause.OUT_OF_BAND)
VERIFIED = (Trust.VERIFIED, "")


def test_over_midnight_the_book_equals_the_best_prices_at_each_of_1072_updates() -> None:
    session = Session("BTCUSDT", limit=1001)  # so what the snapshot does not name counts as known
    session.run(MIDNIGHT[0])
    assert session.books["BTCUSDT"].ledger.next_id - 1 == 50093421584
    assert session.best("BTCUSDT") == ((61685.99, 1.0087), (61686.0, 2.29327))
    session.run(MIDNIGHT[1])
    assert session.books["BTCUSDT"].ledger.next_id - 1 == 50093696318
    assert session.best("BTCUSDT") == ((61602.01, 1.67177), (61602.02, 2.66795))
    assert session.books["BTCUSDT"].agreed == 1072
    assert session.messages("BTCUSDT") == {AWAITING: 2, VERIFIED: 6493}
    assert session.kinds["BTCUSDT"].count("depth") == 6495


def test_over_midnight_a_price_beyond_what_the_snapshot_knew_is_told_and_nothing_is_suspect() -> None:
    session = Session("BTCUSDT")
    session.run(*MIDNIGHT)
    found = session.messages("BTCUSDT")
    assert found.keys() == {AWAITING, VERIFIED, BEYOND}
    assert (found[AWAITING], found[VERIFIED] + found[BEYOND]) == (2, 6493)
    assert found[BEYOND] > 0
    chain = chains(session.told("BTCUSDT"))
    assert [(one.first_id, one.last_id) for one in chain] == [(50093239189, 50093696318)]
    assert (chain[0].start_ms, chain[0].end_ms) == (1723161255208, 1723161905810)


def test_three_symbols_with_their_snapshots_between_the_messages() -> None:
    session = Session("BTCUSDT", "ETHUSDT", "DOTUSDT")
    session.run(THREE)
    assert session.messages("BTCUSDT") == {AWAITING: 10, VERIFIED: 889}
    assert session.messages("DOTUSDT") == {AWAITING: 9, VERIFIED: 871}
    assert sum(book.ledger.counts[Trust.SUSPECT] for book in session.books.values()) == 0
    assert sum(kinds.count("depth") for kinds in session.kinds.values()) == 2688
    assert session.books["BTCUSDT"].ledger.next_id - 1 == 9893046554
    assert session.best("BTCUSDT") == ((58005.11, 1.486376), (58005.12, 0.110252))
    assert session.books["DOTUSDT"].ledger.next_id - 1 == 1513946719
    assert session.best("DOTUSDT") == ((43.4951, 0.23), (43.4986, 0.04))


def test_four_symbols_equal_the_best_prices_at_each_of_26_updates() -> None:
    session = Session("NKNUSDT", "BLZETH", "LRCBTC", "RUNEEUR")
    session.run(FOUR, FOUR_SNAPSHOTS)
    assert sum(book.agreed for book in session.books.values()) == 26
    assert session.messages("NKNUSDT") == {AWAITING: 1, VERIFIED: 149}
    assert session.books["NKNUSDT"].ledger.next_id - 1 == 499870179
    assert session.best("NKNUSDT") == ((0.3527, 9602.0), (0.3531, 152.0))
    book = session.books["NKNUSDT"].book
    assert book is not None
    assert (book.known_low, book.known_high) == (None, 0.5506)  # it has 609 bids and 1000 asks
    assert (0.25974, 51.0) in book.bids.levels()  # an order from before the step of prices was made 0.0001
    assert sum(kinds.count("depth") for kinds in session.kinds.values()) == 177


@pytest.mark.parametrize("left_out", [100, 2000])
def test_a_recorded_message_that_is_left_out_is_a_hole_with_its_cause(left_out: int) -> None:
    session, number = Session("BTCUSDT", limit=1001), 0
    lost: list[bytes] = []
    for at_us, symbol, body in lines(MIDNIGHT[0]):
        if symbol:
            session.books[symbol].hear_snapshot(body, session.limit, at_us // 1000)
        elif b"depthUpdate" in body and (number := number + 1) == left_out:
            lost.append(body)
        else:
            session.basket.hear([body], at_us, 1)
    session.intervals["BTCUSDT"] += session.books["BTCUSDT"].take().intervals
    before, after = chains(session.told("BTCUSDT"))
    assert (before.cause, after.cause) == ("sequence gap", "")
    assert f'"U":{before.last_id + 1},"u":{after.first_id - 1},'.encode() in lost[0]
    assert session.messages("BTCUSDT") == {
        AWAITING: 2,
        VERIFIED: left_out - 3,
        (Trust.SUSPECT, Cause.GAP): 3451 - left_out,
    }
