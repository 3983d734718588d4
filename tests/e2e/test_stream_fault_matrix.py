"""Every fault of the streams, as whole live workflows of trades and of candles.

Whatever it does: what happens goes on to be proven, and after the stop the exchange's own set of records is stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest

from streamforge.exchange.faults import FAULTS
from streamforge_utils.model.kinds.registry import kind_of_type
from tests.chaos.verdict import assert_right, oracle_query, records_of
from tests.e2e import rig
from tests.e2e.exchangeprocess import traded_symbols
from tests.e2e.takeover import chosen_cases
from tests.limits import LIMIT_S

TRADE, BAR = "trade", "kline_1s"
TYPES = {TRADE: "ws_trades", BAR: "ws_candles_1s"}
STRUCK = "after=2,count=3"
ONCE = "after=2,count=1"

CASES: dict[str, tuple[str, ...]] = {
    "stream-silence": (ONCE, "count=1", "count=1000000"),
    "stream-stall": (ONCE, f"pings=0,{ONCE}", f"seconds=3,all=1,{ONCE}"),
    "stream-reset": (ONCE, f"all=1,{ONCE}"),
    "stream-close": (f"code=1008,all=1,{ONCE}",),
    "stream-old": (f"all=1,{ONCE}",),
    "stream-shutdown": (ONCE, f"seconds=1,all=1,{ONCE}"),
    "stream-slow": (f"seconds=5,{ONCE}",),
    "stream-frame": tuple(f"kind={kind},{ONCE}" for kind in FAULTS["stream-frame"].choices["kind"]),
    "stream-missing": ("p=0.2",),
    "stream-duplicate": ("p=0.5",),
    "stream-disordered": (f"rows=3,{STRUCK}",),
    "stream-late": (f"seconds=2,{STRUCK}", f"seconds=30,{STRUCK}"),
    "stream-unknown": (STRUCK,),
    "stream-unit": (STRUCK,),
    "stream-open-bar": ("count=3",),
    "stream-corrected-bar": ("seconds=1,count=3",),
    "stream-refused": ("count=2",),
    "revised": ("path=klines,after=2,count=3",),
}
"""Of each fault its options."""
REST = {"revised"}
"""Of these faults those of requests."""
ALONE = {"stream-open-bar": BAR, "stream-corrected-bar": BAR, "revised": BAR} | {
    f"stream-frame:kind={kind}": TRADE for kind in ("utf8", "masked", "fragment", "reserved", "length")
}
"""Faults of bars, and those in which connections for trades and for bars do not differ."""
ALIKE = (
    *(f"stream-frame:kind={kind}" for kind in ("masked", "fragment", "reserved", "length")),
    *("stream-close", "stream-old", "stream-slow", "stream-late", "stream-unknown", "stream-unit", "stream-stall"),
)
"""Much like others."""
FOR_LONG = {
    *(f"stream-silence:{options}" for options in CASES["stream-silence"]),
    *(f"stream-stall:{options}" for options in CASES["stream-stall"][:2]),
    *(f"revised:{options}" for options in CASES["revised"]),
}
"""Noticed only after a minute: these begin first, and are looked at last."""
SLOW = (
    "stream-silence:count=1000000",
    f"stream-stall:seconds=3,all=1,{ONCE}",
    *("stream-reset:all=1", "stream-shutdown:seconds=1", "stream-frame:kind=utf8", "stream-frame:kind=cut"),
    *("stream-silence:count=1", "stream-stall:pings=0"),
)
"""Of faults that have quicker cases."""
AT_ONCE = 5
"""So many other cases have begun while a test waits for one."""
EVERY = [f"{name}:{options}" for name, found in CASES.items() for options in found]
ORDER = sorted(EVERY, key=lambda fault: fault in FOR_LONG)
SYMBOLS = traded_symbols(2 * len(EVERY))


class Case(NamedTuple):
    """A fault that is switched on for a symbol of its own. faults, queue_ids: by the sort of stream."""

    faults: dict[str, str]
    queue_ids: dict[str, str]


class Cases:
    """Begins those that are chosen. FOR_LONG begin at once, others shortly before they are looked at."""

    def __init__(self, exchange: rig.Exchange, manager: rig.Manager, chosen: Sequence[str]) -> None:
        self.exchange, self.manager = exchange, manager
        self._waiting = [fault for fault in chosen if fault not in FOR_LONG]
        self._begun = {fault: self._new(fault) for fault in chosen if fault in FOR_LONG}

    def begun(self, fault: str) -> Case:
        """A case that has begun; some that follow it have, too."""
        place = self._waiting.index(fault) if fault in self._waiting else len(self._waiting)
        for one in self._waiting[place : place + AT_ONCE]:
            if one not in self._begun:
                self._begun[one] = self._new(one)
        return self._begun[fault]

    def _new(self, fault: str) -> Case:
        """Switch it on, and start a workflow of each kind that is concerned."""
        symbol, switched, started = SYMBOLS[EVERY.index(fault)], {}, {}
        alone = next((word for name, word in ALONE.items() if fault.startswith(name)), None)
        for word in TYPES if alone is None else (alone,):
            # A connection names its streams once it was made.
            scope = "" if fault.startswith("stream-refused") else f",stream={symbol.lower()}@{word}"
            scope = f",symbol={symbol}" if fault.partition(":")[0] in REST else scope
            switched[word] = f"{fault}{scope}"
            self.exchange.switch_on(switched[word])
            answer = self.manager.api.post("/queues/start", json={"symbol": symbol, "type": TYPES[word]})
            assert answer.status_code == 202, answer.text
            started[word] = answer.json()["queue_id"]
        return Case(switched, started)

    def has_struck(self, workflow: rig.Json, fault: str) -> bool:
        assert workflow["ended_at"] is None, self.manager.story(workflow["queue_id"])
        return self.exchange.struck(fault) > 0


@pytest.fixture(scope="module")
def exchange() -> Iterator[rig.Exchange]:
    with rig.exchange("--trades", "600", "--symbols", str(2 * len(EVERY)), "--no-limits") as found:
        yield found


@pytest.fixture(scope="module")
def cases(
    exchange: rig.Exchange, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Cases]:
    settings = {
        "STREAMFORGE_TOTAL_WEIGHT_PER_MINUTE": "1000000",
        "STREAMFORGE_TOTAL_CONNECTS": "10000",
        "STREAMFORGE_COMPARE_SECONDS": "0.5",
    }
    with rig.manager(tmp_path_factory.mktemp("matrix") / "data", exchange.url, **settings) as manager:
        chosen = {one["fault"] for one in chosen_cases(request)}
        yield Cases(exchange, manager, [fault for fault in ORDER if fault in chosen])


def is_proven(workflow: rig.Json, until_ms: int) -> bool:
    live = workflow["live"] or {"proven_through_ms": None}
    return (live["proven_through_ms"] or 0) > until_ms and not live["open_holes"]


def stored_of(manager: rig.Manager, workflow: rig.Json) -> list[Any]:
    """Every record in the collections that its coverage names."""
    decode, stored = msgspec.json.Decoder(kind_of_type(workflow["type"]).stored).decode_lines, []
    named = {one["collection"] for one in manager.coverage(workflow["queue_id"]) if one.get("collection")}
    for collection in sorted(named):
        records = f"/collections/{collection}/records"
        answer = manager.api.get(records, params={"limit": "all", "format": "jsonl"})
        stored += decode(answer.raise_for_status().content)
    return stored


def at_exchange(exchange: rig.Exchange, workflow: rig.Json) -> list[Any]:
    """Every record of its range, and of the millisecond beside each end."""
    path, query = oracle_query(workflow)
    answer = httpx.get(exchange.url + path, params=query, timeout=LIMIT_S)
    return records_of(workflow, answer.raise_for_status().content)


def is_right(exchange: rig.Exchange, manager: rig.Manager, queue_id: str, until_ms: int) -> bool | None:
    """Whether each candle to that time is stored as the exchange has it now."""
    workflow = manager.show(queue_id)
    stored, theirs = stored_of(manager, workflow), at_exchange(exchange, workflow)
    ours, right = ({one.open_time: one for one in some if one.open_time < until_ms} for some in (stored, theirs))
    return ours == right or None


def assert_complete(exchange: rig.Exchange, manager: rig.Manager, workflow: rig.Json) -> None:
    """The workflow has finished, and `assert_right` holds of it, in whatever collections its records are."""
    assert workflow["status"] == "finished", manager.story(workflow["queue_id"])
    stored = stored_of(manager, workflow)
    assert_right(workflow, manager.coverage(workflow["queue_id"]), stored, at_exchange(exchange, workflow))
    assert stored


def test_every_fault_has_a_case() -> None:
    of_books = ("diff", "ticker", "snapshot")
    of_streams = {name for name, kind in FAULTS.items() if kind.of_streams and kind.stage not in of_books}
    assert CASES.keys() == of_streams | REST
    for name, found in CASES.items():
        choices = FAULTS[name].choices
        for chosen in product(*choices.values()):
            words = {f"{key}={value}" for key, value in zip(choices, chosen, strict=True)}
            assert any(words <= set(options.split(",")) for options in found), words


@pytest.mark.parametrize(
    "fault", [pytest.param(one, marks=pytest.mark.long if one.startswith((*ALIKE, *SLOW)) else ()) for one in ORDER]
)
def test_live_workflows_go_on_and_are_complete(fault: str, cases: Cases) -> None:
    exchange, manager, case = cases.exchange, cases.manager, cases.begun(fault)
    for word, queue_id in case.queue_ids.items():
        manager.until(queue_id, "the fault strikes", lambda one: cases.has_struck(one, case.faults[word]))  # noqa: B023
        struck_ms = exchange.stats()["now_ms"]
        manager.until(queue_id, "it is proven beyond the fault", lambda one: is_proven(one, struck_ms + 1_000))  # noqa: B023
        if fault.startswith("revised"):
            story = partial(manager.story, queue_id)
            right = partial(is_right, exchange, manager, queue_id, struck_ms)
            rig.eventually(right, "what was revised is stored", story=story)
        manager.post(f"/queues/{queue_id}/stop")
    for queue_id in case.queue_ids.values():
        assert_complete(exchange, manager, manager.wait(queue_id))
