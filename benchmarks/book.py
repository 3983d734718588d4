"""A verified order book against a loop that only reads the same diffs into two dictionaries."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

import msgspec
import pytest

from benchmarks.common.bench import Bench
from benchmarks.common.fresh import fresh
from benchmarks.common.measuring import Line, Section, Size, in_turn, median, per_second
from streamforge_utils.model.books.book_settings import BookSettings
from streamforge_utils.model.books.records import Depth, id_key
from streamforge_utils.model.books.synchroniser import Synchroniser
from streamforge_utils.model.books.trust import Trust
from tests.doubles.bookbasket import Basket
from tests.places import market_data

FOLDER = "depth-snapshot-and-diffs"
DIFFS = "spot_BTCUSDT_diffs-100ms_2024-08-08T2354_2024-08-09T0000.jsonl"
SNAPSHOT = "spot_BTCUSDT_snapshot-limit1000_2024-08-08T2354.json"
SYMBOL, LIMIT = "BTCUSDT", 1000
TOGETHER = 16
"""Messages of one read of the connection."""
ROUNDS = {Size.FULL: 7, Size.QUICK: 5, Size.TINY: 1}
PASSES = {Size.FULL: 10, Size.QUICK: 5, Size.TINY: 1}
"""How often a run goes through the recording, each time with a new book."""
NEVER_MS = 10**15
RECEIVED_US = 1_723_161_255_208_000


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run. best: the best bid and ask at the end. verified: so many of the messages."""

    messages: int
    cpu_seconds: float
    best: tuple[float, float]
    verified: int = 0


class _Data(msgspec.Struct, gc=False):
    E: int
    s: str
    U: int
    u: int
    b: list[tuple[str, str]]
    a: list[tuple[str, str]]


class _Message(msgspec.Struct, gc=False):
    data: _Data


def run(bench: Bench) -> Section:
    """Measure it."""
    try:
        folder = market_data(FOLDER)
    except pytest.skip.Exception as absent:
        if "PYTEST_CURRENT_TEST" in os.environ:
            raise
        raise RuntimeError(str(absent)) from None
    passes = PASSES[bench.size]
    given = str(folder), passes
    calls = {
        "bare": partial(fresh, bare, *given),
        "plain": partial(fresh, plain, *given),
        "recording": partial(fresh, recording, *given),
        "book": partial(fresh, book, *given, False),
        "whole": partial(fresh, book, *given, True),
    }
    found = in_turn(
        ROUNDS[bench.size],
        {name: partial(bench.undisturbed, call) for name, call in calls.items()},
        lambda name, one: bench.say(f"{name}: {per_second(one.messages, one.cpu_seconds)}"),
    )
    if len({one.best for runs in found.values() for one in runs}) != 1:
        raise RuntimeError("the book has not the best prices of the loop")
    rates = {name: median([one.messages / one.cpu_seconds for one in runs]) for name, runs in found.items()}
    one = found["whole"][0]

    def share(raw: str, ours: str) -> float:
        pairs = zip(found[raw], found[ours], strict=True)
        return median([100 * (r.cpu_seconds / r.messages) / (o.cpu_seconds / o.messages) for r, o in pairs])

    return Section(
        title="Order book",
        how=(
            f"{DIFFS}, behind its snapshot. Bare: msgspec reads each message into a struct, and each level is set in "
            "or taken from a dictionary of texts. Plain: into what JSON is, and the dictionary is of numbers, so that "
            "the best price could be told. Recording: the bare loop, and msgspec writes the record of each message. "
            "Book: ids are compared, what cannot be true is looked for, the book is led on, its best prices, band and "
            "crossing are checked, the message's trust is written down, and its record is made. Rates are by processor "
            "time."
        ),
        lines=(
            Line(what="diffs into a verified book, by a core", measured=rates["book"], unit="/s", at_least=15_000),
            Line(what="the same, share of a bare loop", measured=share("bare", "book"), unit="%", at_least=60),
            Line(what="the same, share of a plain loop", measured=share("plain", "book"), unit="%"),
            Line(
                what="the same, share of a bare loop that makes records, too",
                measured=share("recording", "book"),
                unit="%",
            ),
            Line(
                what="the same with tops and checkpoints, share of a bare loop",
                measured=share("bare", "whole"),
                unit="%",
            ),
        ),
        details=(
            f"{one.messages / passes:,.0f} diffs, {one.verified:,} of them verified; bare {rates['bare']:,.0f}/s, "
            f"plain {rates['plain']:,.0f}/s, recording {rates['recording']:,.0f}/s, book {rates['book']:,.0f}/s, with "
            f"tops and checkpoints {rates['whole']:,.0f}/s.",
        ),
    )


def bare(folder: str, passes: int) -> Run:
    """Only read them."""
    messages, decode = _messages(folder), msgspec.json.Decoder(_Message).decode
    snapshot = msgspec.json.decode(Path(folder, SNAPSHOT).read_bytes())
    cpu, bids, asks = 0.0, dict[str, str](), dict[str, str]()
    for _ in range(passes):
        bids, asks = dict(snapshot["bids"]), dict(snapshot["asks"])
        began = time.process_time()
        for message in messages:
            data = decode(message).data
            for price, quantity in data.b:
                if quantity == "0.00000000":
                    bids.pop(price, None)
                else:
                    bids[price] = quantity
            for price, quantity in data.a:
                if quantity == "0.00000000":
                    asks.pop(price, None)
                else:
                    asks[price] = quantity
        cpu += time.process_time() - began
    return Run(
        messages=passes * len(messages),
        cpu_seconds=cpu,
        best=(max(map(float, bids)), min(map(float, asks))),
    )


def recording(folder: str, passes: int) -> Run:
    """Only read them, and make the record of each."""
    messages, decode, encode = _messages(folder), msgspec.json.Decoder(_Message).decode, msgspec.json.Encoder().encode
    snapshot = msgspec.json.decode(Path(folder, SNAPSHOT).read_bytes())
    cpu, bids, asks, values = 0.0, dict[str, str](), dict[str, str](), list[bytes]()
    for _ in range(passes):
        bids, asks = dict(snapshot["bids"]), dict(snapshot["asks"])
        began = time.process_time()
        for number, message in enumerate(messages):
            if number % TOGETHER == 0:
                values = []
            data = decode(message).data
            for price, quantity in data.b:
                if quantity == "0.00000000":
                    bids.pop(price, None)
                else:
                    bids[price] = quantity
            for price, quantity in data.a:
                if quantity == "0.00000000":
                    asks.pop(price, None)
                else:
                    asks[price] = quantity
            record = Depth(
                key=id_key(SYMBOL, data.u),
                version=RECEIVED_US // 1000,
                symbol=data.s,
                first_update_id=data.U,
                last_update_id=data.u,
                event_time=data.E,
                received_time=RECEIVED_US,
                connection=1,
                bids=data.b,
                asks=data.a,
            )
            values.append(encode(record))
        cpu += time.process_time() - began
    return Run(
        messages=passes * len(messages),
        cpu_seconds=cpu,
        best=(max(map(float, bids)), min(map(float, asks))),
    )


def plain(folder: str, passes: int) -> Run:
    """Read them as most do, prices and quantities as numbers."""
    messages, decode = _messages(folder), msgspec.json.decode
    snapshot = decode(Path(folder, SNAPSHOT).read_bytes())
    cpu, bids, asks = 0.0, dict[float, float](), dict[float, float]()
    for _ in range(passes):
        bids, asks = ({float(price): float(q) for price, q in snapshot[side]} for side in ("bids", "asks"))
        began = time.process_time()
        for message in messages:
            data = decode(message)["data"]
            for levels, changes in ((bids, data["b"]), (asks, data["a"])):
                for price, quantity in changes:
                    if amount := float(quantity):
                        levels[float(price)] = amount
                    else:
                        levels.pop(float(price), None)
        cpu += time.process_time() - began
    return Run(messages=passes * len(messages), cpu_seconds=cpu, best=(max(bids), min(asks)))


def book(folder: str, passes: int, whole: bool) -> Run:
    """Keep a verified book. whole: with the records of its levels."""
    messages, snapshot = _messages(folder), Path(folder, SNAPSHOT).read_bytes()
    settings = BookSettings() if whole else BookSettings(top_every_ms=NEVER_MS, checkpoint_every_ms=NEVER_MS)
    reads = [messages[at : at + TOGETHER] for at in range(0, len(messages), TOGETHER)]
    untimed = 0 if whole else 1  # with its first message a book publishes its levels
    cpu, one = 0.0, Synchroniser(SYMBOL, settings)
    for _ in range(passes):
        one = Synchroniser(SYMBOL, settings)
        basket = Basket([one])
        one.hear_snapshot(snapshot, LIMIT, 0)
        began = time.process_time()
        for number, payloads in enumerate(reads):
            if number == untimed:
                began = time.process_time()
            basket.hear(payloads, RECEIVED_US, 1)
            one.take()
        cpu += time.process_time() - began
    one.stop()
    assert one.book is not None
    return Run(
        messages=passes * (len(messages) - untimed * TOGETHER),
        cpu_seconds=cpu,
        best=(one.book.bids.best, one.book.asks.best),
        verified=one.ledger.counts[Trust.VERIFIED],
    )


def _messages(folder: str) -> list[bytes]:
    return Path(folder, DIFFS).read_bytes().splitlines()
