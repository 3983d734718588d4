"""A live batch whose loaders are baskets: proven through, over the death of a basket, until it is stopped."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from streamforge.exchange.config import ExchangeConfig, SymbolSpec
from streamforge.exchange.exchange_server import run
from tests.e2e import rig
from tests.e2e.exchangeprocess import Exchange
from tests.e2e.rig import Json, eventually, latest
from tests.limits import LIMIT_S

SYMBOLS = [f"S{number:02}USDT" for number in range(12)]
LISTED_MS = 1_577_836_800_000
LOADER, SINK, SIZE = "loader-ws-trades", "arango-trades", 4


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    found = Exchange(command=[sys.executable, "-m", "tests.e2e.test_baskets"])
    yield found
    found.close()


@pytest.fixture
def manager(exchange: Exchange, tmp_path: Path) -> Iterator[rig.Manager]:
    settings = {"STREAMFORGE_BASKET_SIZE": str(SIZE), "STREAMFORGE_COMPARE_SECONDS": "0.5"}
    with rig.manager(tmp_path / "data", exchange.url, **settings) as found:
        yield found


def workflows(manager: rig.Manager, type: str = "ws_trades") -> dict[str, Json]:
    """The live workflows, by symbol."""
    listed = manager.api.get("/queues", params={"type": type, "limit": 1000}).raise_for_status().json()
    return {one["symbol"]: one for one in listed["queues"]}


def until_all(manager: rig.Manager, what: str, holds: Callable[[Json], bool]) -> dict[str, Json]:
    def there() -> dict[str, Json] | None:
        found = workflows(manager)
        return found if len(found) == len(SYMBOLS) and all(map(holds, found.values())) else None

    return eventually(there, what, 2 * LIMIT_S, manager.log)


def baskets(manager: rig.Manager) -> dict[str, str]:
    """The basket of each symbol's loader."""
    found = {}
    for symbol, workflow in workflows(manager).items():
        job = latest(manager.show(workflow["queue_id"]), LOADER)["job"]
        found[symbol] = json.loads((manager.data / "jobs" / job / "spec.json").read_text())["basket"] or job
    return found


def numbers(manager: rig.Manager, target: str = LOADER) -> dict[str, int]:
    """The latest attempt of each loader, or sink."""
    found = workflows(manager).items()
    return {symbol: latest(manager.show(one["queue_id"]), target)["number"] for symbol, one in found}


def connections(exchange: Exchange) -> int:
    found: Json = httpx.get(f"{exchange.url}/control/stats").raise_for_status().json()
    return int(found["streams"]["connects"])


def proven_beyond(proven: dict[str, int]) -> Callable[[Json], bool]:
    def holds(workflow: Json) -> bool:
        live = workflow["live"]
        beyond = bool(live) and (live["proven_id"] or 0) > proven.get(workflow["symbol"], 0) + 5
        return beyond and live["state"] == "live"

    return holds


def proven_ids(found: dict[str, Json]) -> dict[str, int]:
    return {symbol: one["live"]["proven_id"] for symbol, one in found.items()}


def assert_whole(manager: rig.Manager, workflow: Json) -> None:
    """All that its coverage tells of is stored, with consecutive ids."""
    segments = manager.coverage(workflow["queue_id"])
    assert {one["verdict"] for one in segments} == {"stored"}
    ids = list[int]()
    for collection in {one["collection"] for one in segments}:
        ids += [one["trade_id"] for one in manager.records(collection)]
    assert sorted(ids) == list(range(min(ids), max(ids) + 1))


@pytest.mark.long
def test_a_live_batch_in_baskets_is_proven_over_the_death_of_one_until_it_is_stopped(
    exchange: Exchange, manager: rig.Manager
) -> None:
    answer = manager.api.post("/batches", json={"symbols": SYMBOLS, "type": "ws_trades"})
    assert answer.status_code == 202, answer.text
    proven = proven_ids(until_all(manager, "all are live", proven_beyond({})))
    before = baskets(manager)
    assert len(set(before.values())) < len(SYMBOLS) / 2
    assert max(Counter(before.values()).values()) <= SIZE
    assert connections(exchange) == len(set(before.values()))

    name, members = Counter(before.values()).most_common(1)[0]
    assert members > 1
    os.kill(int((manager.data / "jobs" / name / "pid").read_text()), signal.SIGKILL)
    wanted = {symbol: 2 if before[symbol] == name else 1 for symbol in SYMBOLS}
    rig.eventually(lambda: True if numbers(manager) == wanted else None, "those of the killed basket begin again")
    proven = proven_ids(until_all(manager, "all go on", proven_beyond(proven)))
    after = baskets(manager)
    assert {symbol: after[symbol] for symbol in before if before[symbol] != name} == {
        symbol: basket for symbol, basket in before.items() if basket != name
    }
    assert numbers(manager) == wanted

    manager.kill()
    manager.start()
    proven = proven_ids(until_all(manager, "all go on with another manager", proven_beyond(proven)))
    assert baskets(manager) == after

    alone = workflows(manager)[SYMBOLS[7]]["queue_id"]
    assert_whole(manager, manager.stopped(alone))
    found = workflows(manager)
    others = {symbol: one for symbol, one in found.items() if symbol != SYMBOLS[7]}
    assert {one["status"] for one in others.values()} == {"running"}

    batch_id = answer.json()["batch_id"]
    manager.post(f"/batches/{batch_id}/stop")
    ends = [manager.finished(one["queue_id"]) for one in others.values()]
    for one in ends:
        assert_whole(manager, one)
        (loader,) = [step for step in one["steps"] if step["target"] == LOADER]
        assert loader["attempts"][-1]["exit_code"] == 0, "it had to be ended by force"


@pytest.mark.long
def test_an_upgrade_hands_baskets_over_as_baskets_and_nothing_lacks(exchange: Exchange, manager: rig.Manager) -> None:
    answer = manager.api.post("/batches", json={"symbols": SYMBOLS, "type": "ws_trades"})
    assert answer.status_code == 202, answer.text
    proven = proven_ids(until_all(manager, "all are live", proven_beyond({})))
    assert set(numbers(manager).values()) == {1}

    manager.kill()
    manager.module = "tests.e2e.upgraded_manager"
    manager.start()
    wanted = dict.fromkeys(SYMBOLS, 2)
    rig.eventually(lambda: True if numbers(manager) == wanted else None, "all were handed over", 2 * LIMIT_S)
    rig.eventually(lambda: True if numbers(manager, SINK) == wanted else None, "the sinks were made again", 2 * LIMIT_S)
    until_all(manager, "all go on", proven_beyond(proven))
    processes = set(baskets(manager).values())
    assert len(processes) < len(SYMBOLS) / 2

    manager.post(f"/batches/{answer.json()['batch_id']}/stop")
    for one in workflows(manager).values():
        ended = manager.finished(one["queue_id"])
        assert_whole(manager, ended)
        (loader,) = [step for step in ended["steps"] if step["target"] == LOADER]
        assert [attempt["exit_code"] for attempt in loader["attempts"]] == [0, 0]


if __name__ == "__main__":
    MADE = [SymbolSpec(symbol=s, base=s[:3], quote="USDT", listed_ms=LISTED_MS, trades_a_minute=240) for s in SYMBOLS]
    sys.exit(run(ExchangeConfig(weight_limit=None, symbols=tuple(MADE)), json_line=True))
