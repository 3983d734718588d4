"""A batch of fourteen symbols on a real manager that is killed while it goes on; two are in the archive alone."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from streamforge.exchange.config import ExchangeConfig, SymbolSpec
from streamforge.exchange.exchange_server import run
from streamforge.manager.engine.persistence.workflow_store import WorkflowStore
from tests.e2e import rig, stored_books
from tests.e2e.exchangeprocess import Exchange
from tests.e2e.rig import Json, assert_exact, eventually
from tests.e2e.test_fault_matrix import assert_complete_or_told
from tests.limits import LIMIT_S

LISTED_MS, DELISTED_MS, LATE_MS = 1_577_836_800_000, 1_656_547_200_000, 1_722_470_400_000
"""2020-01-01, 2022-06-30, 2024-08-01"""
BASES = [f"B{number:02d}" for number in range(14)]
DAY, DAY_MS = "2022-06-01", 1_654_041_600_000
STORED = 24 * 13 - 6
"""Of B00, which was listed later, none; of B13 six hours lack."""


def spec(base: str) -> SymbolSpec:
    """B00 is listed late, B01 is delisted. B12 and B13 are in the archive alone; B13 was listed on DAY at 06:00."""
    delisted_ms = DELISTED_MS if base in ("B01", "B12", "B13") else None
    return SymbolSpec(
        symbol=f"{base}USDT",
        base=base,
        quote="USDT",
        listed_ms={"B00": LATE_MS, "B13": DAY_MS + 6 * 3_600_000}.get(base, LISTED_MS),
        delisted_ms=delisted_ms,
        status="TRADING" if delisted_ms is None else "BREAK",
        unlisted=base in ("B12", "B13"),
    )


@pytest.fixture(scope="module")
def fourteen() -> Iterator[Exchange]:
    found = Exchange(command=[sys.executable, "-m", "tests.e2e.test_batches"])
    yield found
    found.close()


@pytest.fixture
def batches(fourteen: Exchange, tmp_path: Path) -> Iterator[rig.Manager]:
    with rig.manager(tmp_path / "data", fourteen.url, STREAMFORGE_ARCHIVE_URL=fourteen.url) as found:
        yield found


def ended(manager: rig.Manager, batch_id: str) -> Json:
    def found() -> Json | None:
        batch: Json = manager.api.get(f"/batches/{batch_id}").raise_for_status().json()
        return batch if batch["ended_at"] else None

    return eventually(found, f"{batch_id} has ended", 4 * LIMIT_S)


def begun(manager: rig.Manager, symbols: Sequence[str], **more: object) -> Json:
    body = {"symbols": symbols, "type": "api_candles_1h", "time_range": DAY, **more}
    answer = manager.api.post("/batches", json=body)
    assert answer.status_code == 202, answer.text
    found: Json = answer.json()
    return found


def test_a_batch_goes_on_over_kills_and_each_symbol_is_loaded_once(batches: rig.Manager, fourteen: Exchange) -> None:
    batch = begun(batches, ["*USDT"])
    assert (batch["size"], batch["delisted"], batch["archived"]) == (14, 3, 2)
    path = f"/batches/{batch['batch_id']}"
    for done in (2, 7):

        def so_far(done: int = done) -> Json | None:
            counts: Json = batches.api.get(path).raise_for_status().json()["counts"]
            return counts if counts["finished"] + counts["closed"] >= done else None

        eventually(so_far, f"{done} symbols are proven", 4 * LIMIT_S)
        batches.kill()
        batches.start()
    found = ended(batches, batch["batch_id"])
    assert (found["status"], found["failures"]) == ("finished", [])
    assert {name: count for name, count in found["counts"].items() if count} == {"finished": 13, "closed": 1}
    assert (found["progress"]["records_stored"], found["progress"]["records_expected"]) == (STORED, STORED)
    workflows = batches.api.get("/queues", params={"batch": batch["batch_id"]}).json()["queues"]
    assert Counter(one["symbol"] for one in workflows) == dict.fromkeys((f"{base}USDT" for base in BASES), 1)
    for workflow in workflows:
        if workflow["symbol"] != "B00USDT":
            assert_exact(fourteen, batches, batches.show(workflow["queue_id"]))
    topics = batches.data / "bus" / "topics"

    def none_left() -> bool | None:
        return None if any(one.name.startswith("wf-") for one in topics.iterdir()) else True

    eventually(none_left, "no topic is left")


async def starts(manager: rig.Manager, queue_ids: Sequence[str]) -> list[tuple[int, int]]:
    """Of each worker that was started: when that was planned, and when it was first heard, unix milliseconds."""
    found = list[tuple[int, int]]()
    async with stored_books.opened_store(manager) as store:
        workflows = WorkflowStore(store)
        for queue_id in queue_ids:
            stored = await workflows.get(queue_id)
            assert stored is not None
            for one in (attempt for step in stored.workflow.steps for attempt in step.attempts):
                assert one.started_ms is not None
                found.append((one.planned_ms, one.started_ms))
    return found


def test_of_a_batch_only_so_many_workers_begin_at_once(fourteen: Exchange, tmp_path: Path) -> None:
    bound, symbols = 3, [f"{base}USDT" for base in BASES[2:8]]
    with rig.manager(tmp_path / "data", fourteen.url, STREAMFORGE_MAX_STARTING=str(bound)) as manager:
        batch = ended(manager, begun(manager, symbols)["batch_id"])
        workflows = manager.api.get("/queues", params={"batch": batch["batch_id"]}).json()["queues"]
        begun_at = asyncio.run(starts(manager, [one["queue_id"] for one in workflows]))
    assert batch["counts"]["finished"] == len(symbols)
    assert len(begun_at) == 2 * len(symbols), "a loader and a sink each, once"
    assert max(sum(planned <= at < heard for planned, heard in begun_at) for at, _ in begun_at) <= bound


@pytest.mark.long
def test_only_what_was_listed_on_the_day_is_loaded(batches: rig.Manager, fourteen: Exchange) -> None:
    found = ended(batches, begun(batches, ["B0[01]USDT", "B1[23]USDT"], listed_at="2021-01-01")["batch_id"])
    members = batches.api.get(f"/batches/{found['batch_id']}/members").json()["members"]
    assert [(one["symbol"], one["status"], one["delisted"]) for one in members] == [
        ("B00USDT", "closed", False),
        ("B01USDT", "finished", True),
        ("B12USDT", "finished", True),
        ("B13USDT", "closed", True),
    ]
    assert members[0]["reason"] == members[3]["reason"] == "it was not listed on 2021-01-01"
    single = batches.loaded("B12USDT", "api_candles_1h", "2022-06-29:2022-07-02")
    assert [one["verdict"] for one in batches.coverage(single["queue_id"])] == ["stored", "closed"]
    assert ([one["source"] for one in single["parts"]], single["progress"]["records_stored"]) == (["archive"], 24)
    assert len(assert_exact(fourteen, batches, single)) == 24
    trades = batches.loaded("B12USDT", "api_trades", "2022-06-28:2022-07-02")
    assert [one["verdict"] for one in batches.coverage(trades["queue_id"])] == ["stored", "closed"]
    assert [one["source"] for one in trades["parts"]] == ["archive"]
    assert trades["progress"]["records_stored"] > 2 * 24 * 60
    assert_complete_or_told(fourteen, batches, trades["queue_id"])


if __name__ == "__main__":
    sys.exit(run(ExchangeConfig(weight_limit=None, symbols=tuple(map(spec, BASES))), json_line=True))
