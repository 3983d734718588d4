"""The faults of order books: their kinds, and what they do to snapshots, diffs and tickers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from weakref import WeakKeyDictionary

import msgspec

from streamforge.exchange.books import Book, BookState
from streamforge.exchange.fault_kind import Fault, FaultKind
from streamforge.exchange.stream_feed import Outgoing

_QUANTITIES = {"negative": "-1.00000000", "nan": "NaN", "infinite": "Infinity", "text": "n/a", "null": None}
_IDS = {"back": (-1, 0), "jump": (1, 0), "older": (-1, -1), "newer": (1, 1)}
"""What a wrong number is of `U` and of `u`: lower, higher, or right."""

BOOK_FAULTS: dict[str, FaultKind] = {
    "snapshot-old": FaultKind("snapshot", "the snapshot is `seconds` old", {"seconds": 30.0}),
    "snapshot-cached": FaultKind("snapshot", "a snapshot is given again for `seconds`", {"seconds": 30.0}),
    "snapshot-few": FaultKind("snapshot", "at most `levels` a side, whatever was asked for", {"levels": 100}),
    "snapshot-crossed": FaultKind("snapshot", "the best bid of the snapshot is at the best ask"),
    "depth-overlap": FaultKind("diff", "the next diff on the connection begins where this one begins, and has both"),
    "depth-ids": FaultKind(
        "diff",
        "the diff's ids are wrong by `ids`: `U` too low (back) or too high (jump), or both of them (older, newer). "
        "Nobody can see that what comes before a diff with `back` was lost",
        {"kind": "jump", "ids": 100},
        {"kind": tuple(_IDS)},
    ),
    "depth-crossed": FaultKind("diff", "the diff has a bid more, as high as an ask or higher"),
    "depth-quantity": FaultKind(
        "diff", "a quantity of the diff is none", {"kind": "negative"}, {"kind": tuple(_QUANTITIES)}
    ),
    "ticker-differs": FaultKind(
        "ticker",
        "the best bid of `bookTicker` has another quantity or price than in the book",
        {"kind": "quantity"},
        {"kind": ("quantity", "price")},
    ),
}


def spoilt_snapshot(book: Book, time_ms: int, levels: int, faults: Iterable[Fault]) -> BookState:
    """What REST says of a book at `time_ms`, `levels` a side at most, after `faults` of the stage `snapshot`."""
    crossed = False
    for fault in faults:
        match fault.name:
            case "snapshot-old":
                time_ms -= _ms(fault)
            case "snapshot-cached":
                time_ms -= time_ms % max(_ms(fault), 1)
            case "snapshot-few":
                levels = min(levels, int(fault.number("levels")))
            case _:
                crossed = True
    found = book.snapshot(time_ms, levels)
    if crossed and found.bids and found.asks:
        bids = [(found.asks[0][0], found.bids[0][1]), *found.bids[1:]]
        return BookState(found.update_id, found.time_ms, bids, found.asks)
    return found


class Overlaps:
    """Diffs that are to be told again with the next one of their stream, by connection."""

    def __init__(self) -> None:
        self._waiting: WeakKeyDictionary[object, dict[str, Outgoing]] = WeakKeyDictionary()

    def add(self, connection: object, diff: Outgoing) -> None:
        """Tell `diff` again."""
        self._waiting.setdefault(connection, {})[diff.name.text] = diff

    def joined(self, connection: object, outgoing: Outgoing) -> Outgoing:
        """The event, with the diff that waits for it."""
        before = self._waiting.get(connection, {}).pop(outgoing.name.text, None)
        return outgoing if before is None else spoilt(outgoing, lambda diff: _join(_read(before), diff))


def spoilt_diff(fault: Fault, diff: Outgoing) -> Outgoing:
    """A diff or a ticker after a fault of the stages `diff` and `ticker`."""
    match fault.name:
        case "depth-ids":
            return spoilt(diff, lambda event: _move_ids(fault, event))
        case "depth-crossed":
            return spoilt(diff, _cross)
        case "depth-quantity":
            return spoilt(diff, lambda event: _spoil_quantity(fault, event))
    return spoilt(diff, lambda event: _differ(fault, event))


def spoilt(outgoing: Outgoing, change: Callable[[dict[str, Any]], None]) -> Outgoing:
    """An event whose JSON is changed."""
    event = _read(outgoing)
    change(event)
    changed = msgspec.structs.replace(outgoing.event, data=msgspec.json.encode(event))
    return msgspec.structs.replace(outgoing, event=changed)


def _read(outgoing: Outgoing) -> dict[str, Any]:
    return msgspec.json.decode(outgoing.event.data, type=dict[str, Any])


def _join(before: dict[str, Any], diff: dict[str, Any]) -> None:
    diff["U"] = before["U"]
    for side in ("b", "a"):
        diff[side] = list(({price: [price, quantity] for price, quantity in (*before[side], *diff[side])}).values())


def _move_ids(fault: Fault, diff: dict[str, Any]) -> None:
    for name, sign in zip("Uu", _IDS[str(fault.options["kind"])], strict=True):
        diff[name] += sign * int(fault.number("ids"))


def _cross(diff: dict[str, Any]) -> None:
    asks = [(float(price), price) for price, quantity in diff["a"] if float(quantity)]
    bids = [float(price) for price, _ in diff["b"]]
    if asks or bids:
        price = max(asks)[1] if asks else f"{max(bids) * 1.05:.8f}"
        diff["b"].insert(0, [price, "1.00000000"])


def _spoil_quantity(fault: Fault, diff: dict[str, Any]) -> None:
    for level in (*diff["b"], *diff["a"])[:1]:
        level[1] = _QUANTITIES[str(fault.options["kind"])]


def _differ(fault: Fault, ticker: dict[str, Any]) -> None:
    name = "B" if fault.options["kind"] == "quantity" else "b"
    ticker[name] = f"{float(ticker[name]) * 0.75:.8f}"


def _ms(fault: Fault) -> int:
    return round(fault.number("seconds") * 1000)
