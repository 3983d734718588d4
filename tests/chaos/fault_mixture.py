"""Live workflows while several faults of the streams and of order books, drawn at random, strike at once.

Afterwards all that can be known again is stored, and what a book lost has a cause that one of the faults explains.
Meanwhile months of candles come from files of the archive, of each of which something is wrong, too, and the exchange
calls a symbol halted whose events go on.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import httpx

from streamforge.exchange.stream_frames import KINDS
from streamforge_utils.model.books.stored_intervals import UNBACKED
from tests import backends
from tests.chaos import processes
from tests.chaos.disturbance import running
from tests.chaos.live_killer import BOOK, LIVE_SETTINGS, SERIES, TROUBLE, check_all, parameters_of
from tests.chaos.rig import Api, ManagerKeeper
from tests.e2e.exchangeprocess import Exchange, exchange
from tests.e2e.test_fault_matrix import ARCHIVE
from tests.limits import LIMIT_S

WORDS = {"ws_trades": "trade", "ws_agg_trades": "aggTrade", "ws_candles_1s": "kline_1s", BOOK: "depth*"}
"""What the streams of a type are called."""
MIXED = (*SERIES[:3], ("这是测试币456", "ws_agg_trades"), SERIES[4])
MONTHS = (("BTCUSDT", "2024-03"), ("ETHUSDT", "2024-04"))
"""Of candles of a minute: each is a file of the archive."""
FAULTS = 12
"""So many are drawn."""
BACKGROUND = [fault for fault in TROUBLE if not fault.startswith("stream-")]
"""What the answers to requests are like meanwhile."""
DISCONNECT, GAP, CONTENT = "disconnect", "sequence gap", "bad content"
USUAL = {"", "unverifiable: awaiting snapshot", "unverifiable: out of band", f"unverifiable: {UNBACKED}"}
"""What may be said of what is stored in any case."""


class Choice(NamedTuple):
    """A fault that may be drawn. types: of the series that it may strike.

    most: how often it strikes at most. lost: the causes of what a book may lose; doubts: what else may be said of it.
    of_all: it concerns the connections of all series.
    """

    fault: str
    types: Sequence[str]
    most: int = 1
    lost: frozenset[str] = frozenset()
    doubts: frozenset[str] = frozenset()
    of_all: bool = False

    @property
    def of_connection(self) -> bool:
        """Whether it concerns all streams of a connection: it ends, or says nothing."""
        return DISCONNECT in self.lost or self.fault.startswith("stream-stall")


class Drawn(NamedTuple):
    """A fault as it was drawn, and as it is switched on."""

    choice: Choice
    symbol: str
    type: str
    switched: str

    def concerns(self, symbol: str) -> bool:
        """Whether the book of a symbol may suffer: books have one connection."""
        return self.choice.of_all or (self.type == BOOK and (symbol == self.symbol or self.choice.of_connection))


EVERY, BARS = tuple(WORDS), ("ws_candles_1s",)
OTHERS = tuple(one for one in EVERY if one != BOOK)
REFUSED = "stream-refused"


def _of_books(fault: str, most: int, *lost: str, doubts: Sequence[str] = ()) -> Choice:
    return Choice(fault, (BOOK,), most, frozenset(lost), frozenset(doubts))


def _of_streams(fault: str, *lost: str) -> Choice:
    return Choice(fault, EVERY, 1, frozenset(lost), of_all="all=1" in fault)


FRAMES: dict[str, tuple[str, ...]] = dict.fromkeys(KINDS, (DISCONNECT,)) | {
    "json": (DISCONNECT, CONTENT),  # what is no JSON is refused, and then the connection is left
    "fragments": (),
}
"""What a book may lose by each odd frame."""
CHOICES = (
    *(
        _of_streams(fault, DISCONNECT)
        for fault in (
            *("stream-reset", "stream-reset:all=1", "stream-close:code=1008", "stream-old", "stream-old:all=1"),
            *("stream-shutdown:seconds=1", "stream-shutdown:seconds=0,all=1", "stream-slow:seconds=5"),
        )
    ),
    *(
        _of_streams(fault, GAP)  # the connection stands, and goes on
        for fault in ("stream-stall:seconds=3", "stream-stall:seconds=2,pings=0,all=1", "stream-silence:seconds=3")
    ),
    *(_of_streams(f"stream-frame:kind={kind}", *lost) for kind, lost in FRAMES.items()),
    Choice(REFUSED, EVERY, 2),
    Choice("stream-missing", OTHERS, 20),
    Choice("stream-duplicate", EVERY, 20),
    Choice("stream-disordered:rows=3", OTHERS, 5),
    Choice("stream-late:seconds=2", OTHERS, 5),
    Choice("stream-unknown", EVERY, 5),
    Choice("stream-unit", OTHERS, 5),
    Choice("stream-open-bar", BARS, 3),
    Choice("stream-corrected-bar:seconds=1", BARS, 3),
    *(_of_books(fault, 3, GAP) for fault in ("stream-missing", "stream-disordered:rows=1")),
    _of_books("stream-unit", 2, CONTENT),
    _of_books("depth-overlap", 5),
    *(_of_books(f"depth-ids:kind={kind}", 1, GAP, CONTENT) for kind in ("jump", "older")),
    _of_books("depth-crossed", 1, doubts=("suspect: crossed",)),
    *(
        _of_books(f"depth-quantity:kind={kind}", 1, CONTENT, DISCONNECT)
        for kind in ("negative", "nan", "infinite", "text", "null")
    ),
    *(
        _of_books(f"ticker-differs:kind={kind}", 40, doubts=("suspect: witness differs",))
        for kind in ("quantity", "price")
    ),
    *(_of_books(f"snapshot-{kind}:seconds=5", 1) for kind in ("old", "cached")),
    *(_of_books(fault, 1) for fault in ("snapshot-few:levels=100", "snapshot-crossed")),
    *(_of_books(f"{fault},path=depth", 1) for fault in ("slow:ms=3000", "429:retry_after=1", "418:seconds=2")),
)
"""Not among them: diffs whose ids are too high (`newer`), as of its ids one fits to a snapshot that it does not follow,
which nobody can see; and diffs that come late, as what is compared leaves them out."""
BACK = _of_books("depth-ids:kind=back", 1)
"""That something before it was lost nobody can see, so it strikes books alone of which nothing is."""
_STUCK = frozenset({DISCONNECT, GAP, "loader ended"})
"""A loader that gets nothing for so long leaves the connection, or may be taken for stuck, and is replaced."""
LENGTHY = (
    Choice("stream-silence", EVERY, 1, _STUCK),
    Choice("stream-stall:all=1", EVERY, 1, _STUCK, of_all=True),
    Choice("stream-stall:pings=0", EVERY, 1, _STUCK),
    _of_books("snapshot-cached:seconds=30", 2),
    _of_books("slow:ms=30000,path=depth", 1),
)
"""What is noticed, or over, only after half a minute or more."""


class Halt(NamedTuple):
    """A symbol that the exchange calls halted until all faults have struck. early: before it is loaded, too."""

    symbol: str
    early: bool


def draw(seed: int, count: int, series: Sequence[tuple[str, str]], *, lengthy: bool) -> list[Drawn]:
    """So many faults, no two of them the same, each of one of the series."""
    chance, found = random.Random(f"mixture {seed}"), dict[tuple[str, str, str], Drawn]()
    sorts: dict[object, list[Choice]] = {}  # those of which there are many are not drawn more often
    for one in (*CHOICES, BACK, *(LENGTHY if lengthy else ())):
        sorts.setdefault((one.fault.partition(":")[0], one.types), []).append(one)
    while len(found) < count:
        choice = chance.choice(chance.choice([*sorts.values()]))
        symbol, type_name = chance.choice([one for one in series if one[1] in choice.types])
        options = [f"count={chance.randint(1, choice.most)}", f"seed={seed}"]
        if choice.fault != REFUSED:  # a connection names its streams once it was made
            options.append(f"symbol={symbol}")
            if choice.fault.startswith("stream-"):
                options.append(f"stream={symbol.lower()}@{WORDS[type_name]}")
            if choice.fault.startswith(("stream-", "depth-", "ticker-")):
                options.append(f"after={chance.randint(0, 3 if type_name in BARS else 40)}")
        switched = f"{choice.fault}{',' if ':' in choice.fault else ':'}{','.join(options)}"
        drawn = Drawn(choice, symbol, type_name, switched)
        if not any(_hides(one, drawn) or _hides(drawn, one) for one in found.values()):
            found.setdefault((choice.fault, symbol, type_name), drawn)
    return list(found.values())


def _hides(back: Drawn, other: Drawn) -> bool:
    """Whether the first may hide what a book loses by the second."""
    loses = other.choice.lost or other.choice.fault.startswith(("snapshot-old", "snapshot-cached"))
    return back.choice == BACK and bool(loses) and other.concerns(back.symbol)


def draw_of_files(seed: int) -> list[str]:
    """A fault of the archive for each of `MONTHS`, as it is switched on."""
    drawn = random.Random(f"files {seed}").sample(ARCHIVE, len(MONTHS))
    return [
        f"{fault}{',' if ':' in fault else ':'}symbol={symbol}"
        for fault, (symbol, _) in zip(drawn, MONTHS, strict=True)
    ]


def draw_halt(seed: int, series: Sequence[tuple[str, str]]) -> Halt:
    """The symbol that is halted."""
    chance = random.Random(f"halt {seed}")
    return Halt(chance.choice(sorted({symbol for symbol, _ in series})), chance.random() < 0.5)


def draw_end(seed: int, series: Sequence[tuple[str, str]]) -> str:
    """A symbol that is delisted. It has no book: what is verified of one ends with its last diff."""
    books = {symbol for symbol, type_name in series if type_name == BOOK}
    return random.Random(f"end {seed}").choice(sorted({symbol for symbol, _ in series} - books))


async def survive_faults(
    folder: Path,
    *,
    seed: int,
    count: int = FAULTS,
    lengthy: bool = False,
    series: Sequence[tuple[str, str]] = MIXED,
    settings: Mapping[str, str] = LIVE_SETTINGS,
) -> str:
    """Draw `count` faults, and let each strike while the series are loaded; then nothing is lost without a cause.

    Meanwhile a symbol is halted. lengthy: at last one is delisted, too. Returns what was done, for a person.
    """
    drawn, of_files = draw(seed, count, series, lengthy=lengthy), draw_of_files(seed)
    halt, ending = draw_halt(seed, series), draw_end(seed, series) if lengthy else None
    switched = [*of_files, *(one.switched for one in drawn)]
    faults = (word for fault in BACKGROUND for word in ("--fault", f"{fault},seed={seed}"))
    with exchange("--seed", "7", "--trades", "1667", "--no-limits", *faults) as found:
        for one in switched:
            found.switch_on(one)
        url = {"STREAMFORGE_EXCHANGE_URL": found.url, "STREAMFORGE_ARCHIVE_URL": found.url}
        keeper = ManagerKeeper(folder / "data", folder / "manager.log", {**settings, **url})
        where = "" if backends.bus_embedded() else " --kafka"
        where += "" if backends.store_embedded() else " --double"
        repeat = f"repeat it with python -m tests.chaos{where} --mixtures 1 --seed {seed}"
        async with httpx.AsyncClient(timeout=LIMIT_S) as client, running(keeper, lambda: (repeat, *switched)):
            api, began = Api(keeper, client), time.monotonic()
            if halt.early:
                found.set_status(halt.symbol, "HALT")
            begun = [
                await api.start(f"mixture-{number}", symbol=symbol, type=type_name, parameters=parameters_of(type_name))
                for number, (symbol, type_name) in enumerate(series)
            ]
            past = [
                await api.start(f"past-{symbol}", symbol=symbol, type="api_candles_1m", time_range=month)
                for symbol, month in MONTHS
            ]
            found.set_status(halt.symbol, "HALT")
            await until_struck(found, switched)
            if halt.early:
                for queue_id, (symbol, _) in zip(begun, series, strict=True):
                    await until_told(api, queue_id, "HALT" if symbol == halt.symbol else None)
            found.set_status(halt.symbol, "TRADING")
            end_ms = None if ending is None else await until_delisted(found, keeper, ending)
            found.lift_faults()
            rows, supplements, _ = await check_all(keeper, api, client, found, begun, past)
            told = [await check_causes(api, queue_id, drawn) for queue_id in begun]
            for queue_id, (symbol, _) in zip(begun, series, strict=True):
                await check_closed(api, queue_id, end_ms if symbol == ending else None)
            assert "Traceback" not in keeper.log.read_text(errors="replace")
            assert await keeper.down() == 0
            assert processes.of_data(keeper.data) == []
    causes = sorted(set[str]().union(*told))
    struck = f"seed {seed}: {len(switched)} faults in {time.monotonic() - began:.0f} s, {halt.symbol} halted"
    struck += "" if ending is None else f", {ending} delisted"
    return f"{struck}, {rows} rows, {supplements} supplements; lost by {causes}"


async def until_struck(exchange: Exchange, switched: Sequence[str]) -> None:
    """Each fault has struck."""
    waiting = [*switched]
    try:
        async with asyncio.timeout(backends.patience(LIMIT_S)):
            while True:
                waiting = [one for one in waiting if not exchange.struck(one)]
                if not waiting:
                    return
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError(f"these faults never struck: {waiting}") from None


async def until_told(api: Api, queue_id: str, status: str | None) -> None:
    """The workflow tells that its symbol has this status; None: that it is traded."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            live = (await api.show(queue_id))["live"]
            if live and live["untraded"] == status:
                return
            await asyncio.sleep(0.2)


async def until_delisted(exchange: Exchange, keeper: ManagerKeeper, symbol: str) -> int:
    """Delist a symbol, and wait until it has had its last trade; when that was, unix ms, half-open.

    A manager asks about a symbol every few minutes, and a new one at once.
    """
    end_ms = int(exchange.set_status(symbol, "BREAK")["delisted_ms"])
    await keeper.kill()
    await keeper.up()
    while True:
        if exchange.stats()["now_ms"] >= end_ms:
            return end_ms
        await asyncio.sleep(0.2)


async def check_closed(api: Api, queue_id: str, end_ms: int | None) -> None:
    """Of a delisted symbol it is `closed` that nothing comes any more; nothing else is. end_ms: of its trades."""
    segments = (await api.ask("GET", f"/queues/{queue_id}/coverage"))["segments"]
    closed = [one for one in segments if one["verdict"] == "closed"]
    assert closed == ([] if end_ms is None else segments[-1:]), (queue_id, segments)
    if end_ms is not None:
        assert end_ms - 10_000 < closed[0]["start_ms"] <= end_ms, (queue_id, closed)


async def check_causes(api: Api, queue_id: str, drawn: Sequence[Drawn]) -> set[str]:
    """What a book lost, and what is said of it, follows from a fault that concerns it; the causes of what it lost."""
    workflow = await api.show(queue_id)
    segments = (await api.ask("GET", f"/queues/{queue_id}/coverage"))["segments"]
    lost = {one["cause"] for one in segments if one["verdict"] == "lost"}
    concern = [one.choice for one in drawn if one.concerns(workflow["symbol"])]
    may = frozenset[str]().union(*(one.lost for one in concern))
    assert lost <= may, (queue_id, lost - may, [one.fault for one in concern], segments)
    after = {f"{word}: {cause}" for cause in may for word in ("suspect", "unverifiable")}
    doubts = {one.get("cause", "") for one in segments if one["verdict"] == "stored"}
    allowed = USUAL.union(after, *(one.doubts for one in concern))
    assert doubts <= allowed, (queue_id, doubts - allowed, [one.fault for one in concern])
    return lost
