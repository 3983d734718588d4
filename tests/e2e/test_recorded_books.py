"""Recorded order books, through loaders, bus, sinks and store into segments and an export, field by field."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from streamforge.cli.main import main
from streamforge_utils.model.timeranges import iso_ms
from tests.e2e import rig
from tests.e2e.rig import Json
from tests.e2e.stored_books import LOADER, SINK, start
from tests.e2e.test_recorded_streams import APRIL, FIRST, FULL_SPEED, OCTOBER, REAL_SPEED, THEN
from tests.exchange.books import PlainBook
from tests.limits import LIMIT_S

OCTOBER_SNAPSHOTS = "ws-recordings-raw/spot_NKNUSDT+BLZETH+LRCBTC+RUNEEUR_depth-snapshots-limit1000_2021-10-12T0028.txt"
PARAMETERS = {
    LOADER: {"top_seconds": 5, "checkpoint_seconds": 30, "limit": 1001},
    SINK: {"segment_seconds": 1},
}
"""limit: one that is no usual one, so that what a snapshot of 1000 levels does not name counts as known."""
UNVERIFIABLE = ("unverifiable: awaiting snapshot", "unverifiable: out of band")
NO_MORE = "500:path=depth"
"""No snapshot behind the first one: the price leaves its band, and comes back into it, eight times."""
LOOKS = 30
"""Books of past moments that are compared, of a symbol."""


class Recording(NamedTuple):
    """A recorded session. symbols: how many. agreed: best prices of the same update as a verified diff."""

    files: Sequence[str]
    now: str
    symbols: int
    diffs: int
    agreed: int
    seconds: int


SESSIONS = {
    "over midnight": Recording((FIRST, THEN), "2024-08-08T23:54:10Z", 1, 6495, 1072, 660),
    "three symbols": Recording((APRIL,), "2021-04-04T20:03:10Z", 3, 2688, 0, 95),
    "four symbols": Recording((OCTOBER, OCTOBER_SNAPSHOTS), "2021-10-12T00:28:31Z", 4, 177, 26, 35),
}


class Recorded:
    """What was recorded of a symbol: the snapshot, the diffs in order, and the best prices, by update."""

    def __init__(self) -> None:
        self.snapshot: Json = {}
        self.diffs: list[Json] = []
        self.best: dict[int, Json] = {}

    @property
    def verified(self) -> list[Json]:
        """The diffs behind the snapshot; those before it have no book."""
        return [one for one in self.diffs if one["u"] > self.snapshot["lastUpdateId"]]


def recorded(folder: Path, files: Sequence[str]) -> dict[str, Recorded]:
    found: dict[str, Recorded] = {}
    for name in files:
        content = (folder / name).read_bytes()
        for line in (gzip.decompress(content) if name.endswith(".gz") else content).splitlines():
            if b"{" not in line:
                continue
            body = json.loads(line[line.index(b"{") :])
            if "lastUpdateId" in body:
                asked = line.partition(b"symbol=")[2].partition(b"&")[0].decode() or "BTCUSDT"
                found.setdefault(asked, Recorded()).snapshot = body
                continue
            symbol, _, word = body["stream"].upper().partition("@")
            if word == "DEPTH@100MS":
                found.setdefault(symbol, Recorded()).diffs.append(body["data"])
            elif word == "BOOKTICKER":
                found.setdefault(symbol, Recorded()).best[body["data"]["u"]] = body["data"]
    return found


def numbers(levels: Sequence[Sequence[str | float]]) -> list[tuple[float, float]]:
    return [(float(price), float(quantity)) for price, quantity in levels]


def best_of(ticker: Json) -> list[list[tuple[float, float]]]:
    return [numbers([[ticker["b"], ticker["B"]]]), numbers([[ticker["a"], ticker["A"]]])]


@contextmanager
def replayed(
    session: Recording, pace: Json, market_data: Path, folder: Path, parameters: Json, fault: str = ""
) -> Iterator[tuple[rig.Manager, dict[str, Json], dict[str, Recorded]]]:
    """What a manager has of a session that was played to its end: the finished workflows, and what was recorded.

    fault: goes on once each book has its first snapshot.
    """
    (replay := folder / "replay").mkdir()
    for name in session.files:
        shutil.copy(market_data / name, replay)
    found = recorded(market_data, session.files)
    assert (len(found), sum(len(one.diffs) for one in found.values())) == (session.symbols, session.diffs)
    with (
        rig.exchange("--replay", str(replay), "--now", session.now, "--speed", "0", "--no-limits") as exchange,
        rig.manager(folder / "data", exchange.url, STREAMFORGE_COMPARE_SECONDS="0.2") as manager,
    ):
        begun = {symbol: start(manager, symbol, parameters) for symbol in found}
        for symbol, queue_id in begun.items():
            # A loader that has heard no diff for a while asks for the snapshot: the one that was recorded.
            rig.eventually(
                partial(snapshots, manager, queue_id), f"the snapshot of {symbol} has come", story=manager.log
            )
        if fault:
            exchange.switch_on(fault)
        exchange.set_pace(**pace)
        for symbol, queue_id in begun.items():
            until = found[symbol].diffs[-1]["u"]
            limit_s = LIMIT_S + session.seconds
            manager.until(queue_id, f"all of {symbol} is proven", partial(is_proven, until), limit_s=limit_s)
        ended = {}
        for symbol, queue_id in begun.items():
            manager.post(f"/queues/{queue_id}/stop")
            ended[symbol] = manager.finished(queue_id)
        yield manager, ended, found


@pytest.mark.parametrize("pace", [FULL_SPEED, pytest.param(REAL_SPEED, marks=pytest.mark.long)], ids=["full", "real"])
@pytest.mark.parametrize(
    "session",
    [
        pytest.param(found, id=name, marks=() if name == "four symbols" else pytest.mark.long)
        for name, found in SESSIONS.items()
    ],
)
def test_what_was_recorded_is_stored_verified_and_exported(
    session: Recording, pace: Json, market_data: Path, tmp_path: Path
) -> None:
    with replayed(session, pace, market_data, tmp_path, PARAMETERS) as (manager, ended, found):
        agreed = sum(check(manager, workflow, found[symbol], tmp_path) for symbol, workflow in ended.items())
    assert agreed == session.agreed


@pytest.mark.long
@pytest.mark.parametrize(("name", "fault"), [("over midnight", ""), ("over midnight", NO_MORE), ("four symbols", "")])
def test_with_the_usual_limit_best_prices_are_those_that_were_recorded_too(
    name: str, fault: str, market_data: Path, tmp_path: Path
) -> None:
    """A snapshot of 1000 levels says nothing of what lies beyond them: changes there are not verified."""
    parameters, session = {LOADER: {"limit": 1000}, SINK: PARAMETERS[SINK]}, SESSIONS[name]
    agreed = 0
    with replayed(session, FULL_SPEED, market_data, tmp_path, parameters, fault) as (manager, ended, found):
        for symbol, workflow in ended.items():
            segments = manager.coverage(workflow["queue_id"])
            assert {one["verdict"] for one in segments} == {"stored"}
            assert {one.get("cause", "") for one in segments} <= {"", *UNVERIFIABLE}
            assert not fault or sum(one.get("cause") == UNVERIFIABLE[1] for one in segments) == 8
            assert sum(one["records"] for one in segments) == len(found[symbol].diffs)
            # At this speed some may go by, or all, before the snapshot is there that the book asks for in time.
            doubtful = [range(one["first_id"], one["last_id"] + 1) for one in segments if one.get("cause")]
            agreed += check_best(manager, symbol, found[symbol], doubtful)
            compared = [one["u"] for one in found[symbol].verified if not any(one["u"] in ids for ids in doubtful)]
            assert len(compared) > len(found[symbol].verified) / 2
            assert last_told(manager, workflow["queue_id"]).get("agreed", 0) == sum(
                last_id in found[symbol].best for last_id in compared
            )
    assert agreed == session.agreed


def last_told(manager: rig.Manager, queue_id: str) -> Json:
    """What the loader has told last of its stream."""
    page: Json = {"after": -1, "more": True}
    found: Json = {}
    while page["more"]:
        answer = manager.api.get(f"/queues/{queue_id}/events", params={"after": page["after"]})
        page = answer.raise_for_status().json()
        events = (one["event"] for one in page["events"])
        for one in (one for one in events if one["target"] == LOADER):
            found = (one.get("extra") or {}).get("live", found)
    return found


def snapshots(manager: rig.Manager, queue_id: str) -> int | None:
    """How many the loader has; None: none."""
    return last_told(manager, queue_id).get("snapshots")


def is_proven(until: int, workflow: Json) -> bool:
    return bool((workflow["live"]["proven_id"] or 0) >= until)


def check(manager: rig.Manager, workflow: Json, recorded: Recorded, folder: Path) -> int:
    """All is stored as it was recorded, and verified; how many best prices were compared with the book."""
    queue_id, symbol = workflow["queue_id"], workflow["symbol"]
    segments, output = manager.coverage(queue_id), folder / f"{queue_id}.jsonl"
    assert main(["export", queue_id, "--data", str(manager.data), "--output", str(output)]) == 0
    diffs = [json.loads(line) for line in output.read_text().splitlines()]
    assert len(diffs) == len(recorded.diffs) == workflow["progress"]["records_stored"]
    for one, told in zip(diffs, recorded.diffs, strict=True):
        ids = (one["first_update_id"], one["last_update_id"], one["event_time"], one["symbol"])
        assert ids == (told["U"], told["u"], told["E"], symbol)
        assert (numbers(one["bids"]), numbers(one["asks"])) == (numbers(told["b"]), numbers(told["a"]))
    assert {one["verdict"] for one in segments} == {"stored"}
    awaiting = len(diffs) - len(recorded.verified)
    counts = dict.fromkeys(("", "unverifiable: awaiting snapshot"), 0)
    for one in segments:
        counts[one.get("cause", "")] += one["records"]
    assert counts == {"": len(recorded.verified), "unverifiable: awaiting snapshot": awaiting}
    check_books(manager, workflow, recorded)
    witnessed = check_best(manager, symbol, recorded)
    assert last_told(manager, queue_id).get("agreed", 0) == witnessed
    return witnessed


def check_books(manager: rig.Manager, workflow: Json, recorded: Recorded) -> None:
    """The whole books and the best levels that are stored are those to which the recorded diffs lead."""
    path, query = f"/collections/{workflow['collection']}/records", {"limit": "all", "format": "jsonl"}
    records = [json.loads(line) for line in manager.api.get(path, params=query).text.splitlines()]
    wholes = {one["last_update_id"]: one for one in records if "known_low" in one}
    tops = {one["last_update_id"]: one for one in records if "bids" in one and "known_low" not in one}
    for published, every_ms in ((wholes, 30_000), (tops, 5_000)):
        spans = {one["E"] // every_ms for one in recorded.verified}
        assert len(published) == len(spans)
    book, compared = PlainBook(recorded.snapshot), 0
    for diff in recorded.verified:
        book.apply(diff)
        for found in (one[diff["u"]] for one in (wholes, tops) if diff["u"] in one):
            assert (found["timestamp"], found["symbol"]) == (diff["E"], workflow["symbol"])
            for side, levels in zip(("bids", "asks"), book.sides(), strict=True):
                best = numbers(found[side])
                assert best == numbers(levels[: len(best)])
            compared += 1
    assert compared == len(wholes) + len(tops)


def check_best(manager: rig.Manager, symbol: str, recorded: Recorded, doubtful: Sequence[range] = ()) -> int:
    """Past books at updates with recorded best prices have them; how many such updates there are.

    doubtful: ids of which the ledger says that the book is not verified. Where there are some, books of others may not
    be verified, too: they are rebuilt from a whole book before these, of which the price may have left the band.
    """
    witnessed, verified = [one for one in recorded.verified if one["u"] in recorded.best], 0
    looked_at = witnessed[:: max(1, len(witnessed) // LOOKS)]
    for diff in looked_at:
        past = manager.api.get(f"/books/{symbol}", params={"at": iso_ms(diff["E"]), "limit": 1}).json()
        assert past["last_update_id"] == diff["u"]
        if past["trust"] == "verified":
            assert not any(diff["u"] in ids for ids in doubtful)
            assert [numbers(past["bids"]), numbers(past["asks"])] == best_of(recorded.best[diff["u"]])
            verified += 1
        else:
            assert past["trust"] == "unverifiable"
    assert 2 * verified >= len(looked_at) if doubtful else verified == len(looked_at)
    return len(witnessed)
