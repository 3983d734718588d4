"""Every fault of order books, as whole workflows: what is known is stored, all else is lost with the right cause.

A book is never called verified where the exchange's own is another one (`stored_books.checked`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import pytest

from streamforge.exchange.faults import FAULTS
from streamforge.exchange.stream_frames import KINDS
from tests.e2e import rig
from tests.e2e.exchangeprocess import traded_symbols
from tests.e2e.rig import Json
from tests.e2e.stored_books import checked, is_unbroken, is_verified, start
from tests.e2e.takeover import chosen_cases

AT_ONCE = 4
"""So many other cases have begun while a test waits for one."""
GAP, CONTENT, CUT = frozenset({"sequence gap"}), frozenset({"bad content"}), frozenset({"disconnect"})
CROSSED = frozenset({"suspect: crossed"})
DIFFS = "after=20,stream=*@depth*"
TICKERS = "after=20,stream=*@bookTicker"
USUAL = {"", "unverifiable: awaiting snapshot", "unverifiable: out of band"}
"""What may be said of what is stored in any case: at first there is no snapshot."""


class Case(NamedTuple):
    """A fault, how often it strikes, why some of the book is lost, and the doubts about the rest; other ones may be.

    either: other causes that may be told instead of `lost`. said: of the stream, as its failure.
    """

    fault: str
    strikes: int
    lost: frozenset[str] = frozenset()
    doubts: frozenset[str] = frozenset()
    either: frozenset[str] = frozenset()
    said: str = ""

    @property
    def is_late(self) -> bool:
        """Whether it strikes only once the book is verified: before that, nothing is compared.

        A diff with `back` hides what a connection that was cut right before it has lost.
        """
        return bool(self.doubts) or self.fault.endswith("kind=back")


SHORT = (
    Case("stream-missing:after=20,stream=*@depth*", 2, GAP),
    Case("snapshot-few:levels=100", 1),
    Case("snapshot-crossed", 1),
    Case("depth-ids:after=20,kind=back", 1),
    Case("depth-quantity:after=20,kind=negative", 1, CONTENT),
    Case("ticker-differs:after=20,kind=price", 40, doubts=frozenset({"suspect: witness differs"})),
    Case("stream-reset:after=20,stream=*@depth*", 1, frozenset({"disconnect"})),
    Case("429:path=depth,retry_after=1", 2),
    Case(f"stream-silence:{DIFFS},seconds=2", 1, GAP),
    Case(f"stream-missing:{TICKERS}", 40),
)
LONG = (
    Case("snapshot-cached:seconds=30", 1),
    Case("depth-crossed:after=20", 1, doubts=CROSSED),
    Case("depth-overlap:after=20", 3),
    Case("stream-shutdown:after=20,stream=*@depth*,seconds=60", 1),
    Case(f"stream-stall:{DIFFS},seconds=2", 1, GAP),
    Case("depth-ids:after=20,kind=newer", 1, GAP, either=CONTENT),
    Case("stream-duplicate:after=20,stream=*@depth*", 20),
    Case("snapshot-old:seconds=30", 2),
    Case("418:path=depth,seconds=2", 1),
    Case(f"stream-old:{DIFFS}", 1, CUT),
    Case(f"stream-shutdown:{DIFFS},seconds=0", 1, CUT),
    Case(f"stream-unit:{DIFFS}", 1, CONTENT),
    Case(f"stream-frame:{DIFFS},kind=json", 1, CUT, either=CONTENT),
    Case("depth-quantity:after=20,kind=nan", 1, CONTENT, either=CUT),
    Case("slow:path=depth,ms=30000", 1),
    Case("depth-ids:after=20,kind=older", 1, GAP),
    Case("depth-ids:after=20,kind=jump", 1, GAP, either=CONTENT),
    *(Case(f"depth-quantity:after=20,kind={kind}", 1, CONTENT, either=CUT) for kind in ("infinite", "text", "null")),
    Case("ticker-differs:after=20,kind=quantity", 40, doubts=frozenset({"suspect: witness differs"})),
    *(Case(f"stream-frame:{DIFFS},kind={kind}", 1, CUT) for kind in KINDS if kind not in ("json", "fragments")),
    Case(f"stream-frame:{DIFFS},kind=fragments", 1),
    Case(f"stream-close:{DIFFS},code=1008", 1, CUT),
    Case(f"stream-unknown:{DIFFS}", 3),
    Case(f"stream-disordered:{DIFFS},rows=1", 1, doubts=frozenset({"suspect: sequence gap"})),
    Case(f"stream-stall:{DIFFS},seconds=2,pings=0", 1, GAP),
    Case(f"stream-silence:{DIFFS}", 1, CUT),
    Case(f"stream-silence:{TICKERS}", 1, said="@bookTicker said nothing for 60 s"),
    Case(f"stream-stall:{DIFFS}", 1, CUT),
    Case(f"stream-stall:{DIFFS},pings=0", 1, CUT),
)
"""Noticed or over only after half a minute, or much like the others."""
CASES = (*SHORT, *LONG)
SYMBOLS = traded_symbols(2 * len(CASES))


class Cases:
    """Begins those that are chosen, some before they are looked at."""

    def __init__(self, exchange: rig.Exchange, manager: rig.Manager, chosen: list[Case]) -> None:
        self.exchange, self.manager = exchange, manager
        self._chosen = chosen
        self._begun: dict[Case, str] = {}

    def symbol(self, case: Case) -> str:
        return SYMBOLS[CASES.index(case)]

    def switched(self, case: Case) -> str:
        """The fault as it strikes this case's symbol alone."""
        sign = "," if ":" in case.fault else ":"
        fault = case.fault.replace("*@", f"{self.symbol(case).lower()}@")
        return f"{fault}{sign}symbol={self.symbol(case)},count={case.strikes}"

    def begun(self, case: Case) -> str:
        place = self._chosen.index(case)
        for one in self._chosen[place : place + AT_ONCE]:
            if one not in self._begun:
                if not one.is_late:
                    self.exchange.switch_on(self.switched(one))
                self._begun[one] = start(self.manager, self.symbol(one))
        queue_id = self._begun[case]
        if case.is_late:
            self.manager.until(queue_id, "its book is verified", is_verified)
            self.exchange.switch_on(self.switched(case))
        return queue_id

    def has_struck(self, case: Case, workflow: Json) -> bool:
        assert workflow["ended_at"] is None, self.manager.story(workflow["queue_id"])
        return self.exchange.struck(self.switched(case)) >= case.strikes


@pytest.fixture(scope="module")
def exchange() -> Iterator[rig.Exchange]:
    with rig.exchange("--symbols", str(2 * len(CASES)), "--no-limits") as found:
        yield found


@pytest.fixture(scope="module")
def cases(
    exchange: rig.Exchange, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Cases]:
    settings = {
        "STREAMFORGE_TOTAL_WEIGHT_PER_MINUTE": "1000000",
        "STREAMFORGE_TOTAL_CONNECTS": "10000",
        "STREAMFORGE_COMPARE_SECONDS": "0.5",
        "STREAMFORGE_HOLE_SECONDS": "1",
        "STREAMFORGE_BASKET_SIZE": "1",  # a fault of the connection strikes no other case
    }
    with rig.manager(tmp_path_factory.mktemp("books") / "data", exchange.url, **settings) as manager:
        yield Cases(exchange, manager, [one["case"] for one in chosen_cases(request)])


def is_compared(workflow: Json, since_s: float) -> bool:
    """Whether the exchange's best prices were those of the book after a moment."""
    age_s = workflow["live"]["agreed_age_seconds"]
    return age_s is not None and age_s < time.monotonic() - since_s


def test_every_fault_of_order_books_has_a_case() -> None:
    of_books = {name for name, kind in FAULTS.items() if kind.stage in ("diff", "ticker", "snapshot")}
    assert of_books <= {case.fault.partition(":")[0] for case in CASES}
    for name in of_books:
        for key, values in FAULTS[name].choices.items():
            told = {case.fault for case in CASES if case.fault.startswith(f"{name}:")}
            assert {value for value in values if any(f"{key}={value}" in one for one in told)} == set(values)


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=() if case in SHORT else pytest.mark.long) for case in CASES],
    ids=lambda case: case.fault,
)
def test_what_is_known_is_stored_and_all_else_is_lost_with_its_cause(case: Case, cases: Cases) -> None:
    exchange, manager, queue_id = cases.exchange, cases.manager, cases.begun(case)
    manager.until(queue_id, "the fault strikes", partial(cases.has_struck, case))
    if case.said:
        manager.until(queue_id, "it is told", lambda found: case.said in (found["live"]["failure"] or ""))
    struck_ms = exchange.stats()["now_ms"]
    manager.until(queue_id, "the book is verified again", partial(is_verified, beyond_ms=struck_ms + 1000))
    manager.until(queue_id, "it is compared again", partial(is_compared, since_s=time.monotonic()))
    segments, diffs = checked(manager, exchange, manager.stopped(queue_id))
    lost = {one["cause"] for one in segments if one["verdict"] == "lost"}
    # A connection that is back at once may have lost nothing.
    nothing = case.lost == CUT and not lost and is_unbroken(diffs)
    assert nothing or lost == case.lost or (lost and lost <= case.lost | case.either)
    doubts = {one.get("cause", "") for one in segments if one["verdict"] == "stored"}
    assert case.doubts <= doubts
    after = {f"suspect: {cause}" for cause in lost} | {f"unverifiable: {cause}" for cause in lost}
    assert doubts <= case.doubts | USUAL | after, segments


def test_books_whose_connections_are_all_cut_at_once_lose_what_came_meanwhile_and_go_on(cases: Cases) -> None:
    exchange, manager, symbols = cases.exchange, cases.manager, SYMBOLS[-2:]
    begun = [start(manager, symbol) for symbol in symbols]
    for queue_id in begun:
        manager.until(queue_id, "its book is verified", is_verified)
    connects = exchange.stats()["streams"]["connects"]
    fault = f"stream-reset:stream={symbols[0].lower()}@depth*,all=1,count=1"
    exchange.switch_on(fault)
    rig.eventually(lambda: exchange.struck(fault) or None, "the connections are cut")
    struck_ms = exchange.stats()["now_ms"]
    for queue_id in begun:
        manager.until(queue_id, "it is verified again", partial(is_verified, beyond_ms=struck_ms + 1000))
    assert exchange.stats()["streams"]["connects"] == connects + len(begun)
    for queue_id in begun:
        segments, diffs = checked(manager, exchange, manager.stopped(queue_id))
        lost = {one["cause"] for one in segments if one["verdict"] == "lost"}
        assert lost == CUT or (not lost and is_unbroken(diffs))
