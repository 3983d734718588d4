"""A kind of records that no file of StreamForge knows: the plugin of the tutorial, from its load to its proof."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests import cleanenv, guides
from tests.e2e import rig
from tests.e2e.rig import Json, eventually
from tests.limits import LIMIT_S

PAGE, FILE = "docs/adding-a-worker.md", "plugins/agg_trades.py"
TYPE = "api_agg_trades"
LOADER, SINK = "loader-api-agg-trades", "arango-agg-trades"
RANGE = "2024-08-01:2024-08-01T02:00Z"
FIRST = 2 * (1_722_470_400 - 1_502_942_400)
"""The id of the first trade of the range: two trades a second since the listing."""
IDS = list(range(FIRST, FIRST + 2 * 7200))


@pytest.fixture
def plugin(tmp_path: Path) -> str:
    """The plugin as the tutorial has it, in a folder of its own."""
    path = tmp_path / "plugin" / "agg_trades.py"
    path.parent.mkdir()
    path.write_text(next(step.text for step in guides.steps(PAGE) if step.mark == f"file: {FILE}"))
    return str(path)


@pytest.fixture
def exchange(plugin: str) -> Iterator[rig.Exchange]:
    with rig.exchange(STREAMFORGE_PLUGINS=plugin) as found:
        yield found


@pytest.fixture
def manager(plugin: str, exchange: rig.Exchange, tmp_path: Path) -> Iterator[rig.Manager]:
    with rig.manager(tmp_path / "data", exchange.url, STREAMFORGE_PLUGINS=plugin) as found:
        yield found


class Command:
    """The command line, with the plugin, on the data of a manager that runs."""

    def __init__(self, plugin: str, data: Path) -> None:
        self._environment = cleanenv.environment(STREAMFORGE_PLUGINS=plugin)
        self._data = data

    def __call__(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "streamforge.cli", *arguments, "--data", str(self._data)]
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=LIMIT_S, check=False, env=self._environment
        )
        assert ended.returncode == 0, (arguments, ended.stdout, ended.stderr)
        return ended.stdout

    def json(self, *arguments: str) -> Json:
        found: Json = json.loads(self(*arguments, "--json"))
        return found

    def ids(self) -> list[int]:
        """The ids of the exported range, in its order."""
        lines = self("export", "BTCUSDT", TYPE, RANGE, "--format", "jsonl").splitlines()
        return [json.loads(line)["id"] for line in lines]


@pytest.fixture
def command(plugin: str, manager: rig.Manager) -> Command:
    return Command(plugin, manager.data)


def attempts(workflow: Json, target: str) -> list[Json]:
    found: list[Json] = next(step["attempts"] for step in workflow["steps"] if step["target"] == target)
    return found


def kill(manager: rig.Manager, workflow: Json, target: str) -> None:
    """End a worker at once."""
    os.kill(rig.worker_pid(manager.data, attempts(workflow, target)[-1]["job"]), signal.SIGKILL)


def test_it_is_loaded_proven_and_exported_without_another_file(
    command: Command, manager: rig.Manager, tmp_path: Path
) -> None:
    loaded = command.json("load", "BTCUSDT", TYPE, RANGE)
    assert (loaded["status"], loaded["records_stored"]) == ("finished", len(IDS))
    assert command.ids() == IDS
    counted = command.json("coverage", "BTCUSDT", TYPE, "--verify")
    assert (counted["records_counted"], counted["records_missing"], counted["coverage"]["complete"]) == (
        14_400,
        0,
        True,
    )
    minute = "2024-08-01T00:10Z:2024-08-01T00:11Z"
    table = command("export", "BTCUSDT", TYPE, minute, "--format", "csv").splitlines()
    assert table[:2] == [
        "symbol,id,time,price,quantity,buyer_is_maker",
        f"BTCUSDT,{FIRST + 1200},1722471000000,101.25,0.697,true",
    ]
    assert len(table) == 1 + 120
    command("export", "BTCUSDT", TYPE, minute, "--format", "parquet", "--output", str(tmp_path / "trades.parquet"))
    assert pq.read_table(tmp_path / "trades.parquet")["id"].to_pylist() == IDS[1200:1320]
    assert command.json("schemas", "agg_trades")["title"] == "AggTrade"
    again = command.json("load", "BTCUSDT", TYPE, RANGE)
    assert again["status"] == "finished"
    assert [step["attempts"] for step in manager.show(again["queue_id"])["steps"]] == [[], []]


def test_trades_that_the_exchange_left_out_are_found_by_their_ids_and_repaired(
    command: Command, exchange: rig.Exchange, manager: rig.Manager
) -> None:
    fault = "missing:rows=5,after=8,count=4,path=aggTrades"
    exchange.switch_on(fault)
    loaded = command.json("load", "BTCUSDT", TYPE, RANGE)
    assert exchange.struck(fault) == 4
    assert loaded["status"] == "finished"
    assert manager.show(loaded["queue_id"])["repairs"] >= 1
    assert command.ids() == IDS


def test_it_goes_on_after_a_kill_of_sink_loader_and_manager(
    command: Command, exchange: rig.Exchange, manager: rig.Manager
) -> None:
    exchange.switch_on("stall:seconds=300,after=14,path=aggTrades")
    queue_id = str(command.json("load", "BTCUSDT", TYPE, RANGE, "--detach")["queue_id"])

    def stored(workflow: Json) -> bool:
        return any(step["target"] == SINK and (step["records"] or 0) > 0 for step in workflow["steps"])

    workflow = manager.until(queue_id, "the sink has stored some of it and the loader stands still", stored)
    kill(manager, workflow, SINK)
    workflow = manager.until(queue_id, "another sink is there", lambda found: len(attempts(found, SINK)) > 1)
    manager.kill()
    kill(manager, workflow, LOADER)
    exchange.lift_faults()
    manager.start()
    workflow = manager.wait(queue_id)
    assert workflow["status"] == "finished", manager.story(queue_id)
    assert len(attempts(workflow, LOADER)) > 1
    assert eventually(lambda: command.ids() or None, "the export has records") == IDS
