"""A kind of records that no file of StreamForge knows: the plugin of the tutorial, from its load to its proof."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests import guides
from tests.e2e import rig
from tests.e2e.rig import Json, latest, step

PAGE, FILE = "docs/tutorials/adding-a-worker.md", "plugins/block_trades.py"
TYPE = "api_block_trades"
LOADER, SINK = "loader-api-block-trades", "arango-block-trades"
RANGE, LATER = "2024-08-01:2024-08-01T02:00Z", "2024-08-02:2024-08-02T02:00Z"
FIRST = 2 * (1_722_470_400 - 1_502_942_400)
"""The id of the first trade of the range: two trades a second since the listing."""
IDS = list(range(FIRST, FIRST + 2 * 7200))


@pytest.fixture
def plugin(tmp_path: Path) -> str:
    """The plugin as the tutorial has it, in a folder of its own."""
    path = tmp_path / "plugin" / "block_trades.py"
    path.parent.mkdir()
    path.write_text(next(step.text for step in guides.steps(PAGE) if step.mark == f"file: {FILE}"))
    return str(path)


class Command:
    """The command line, with the plugin, on the data of a manager that runs."""

    def __init__(self, plugin: str, data: Path) -> None:
        self._plugin = plugin
        self._data = data

    def __call__(self, *arguments: str) -> str:
        command = ("-m", "streamforge.cli", *arguments, "--data", str(self._data))
        ended = rig.ended(*command, environ={"STREAMFORGE_PLUGINS": self._plugin})
        assert ended.returncode == 0, (arguments, ended.stdout, ended.stderr)
        return ended.stdout

    def json(self, *arguments: str) -> Json:
        found: Json = json.loads(self(*arguments, "--json"))
        return found

    def ids(self, span: str) -> list[int]:
        """The ids of the exported range, in its order."""
        lines = self("export", "BTCUSDT", TYPE, span, "--format", "jsonl").splitlines()
        return [json.loads(line)["id"] for line in lines]


def test_it_goes_on_after_kills_is_repaired_proven_and_exported_without_another_file(
    plugin: str, tmp_path: Path
) -> None:
    with (
        rig.exchange(STREAMFORGE_PLUGINS=plugin) as exchange,
        rig.manager(tmp_path / "data", exchange.url, STREAMFORGE_PLUGINS=plugin) as manager,
    ):
        command = Command(plugin, manager.data)
        _assert_survives_kills(command, exchange, manager)
        _assert_exported(command, manager, tmp_path / "trades.parquet")
        # What the exchange left out is found by the ids.
        fault = "missing:rows=5,after=8,count=4,path=historicalBlockTrades"
        exchange.switch_on(fault)
        loaded = command.json("load", "BTCUSDT", TYPE, LATER)
        assert exchange.struck(fault) == 4
        assert loaded["status"] == "finished"
        assert manager.show(loaded["queue_id"])["repairs"] >= 1
        assert command.ids(LATER) == [number + 2 * 86_400 for number in IDS]


def _assert_survives_kills(command: Command, exchange: rig.Exchange, manager: rig.Manager) -> None:
    exchange.switch_on("stall:seconds=300,after=14,path=historicalBlockTrades")
    queue_id = str(command.json("load", "BTCUSDT", TYPE, RANGE, "--detach")["queue_id"])
    manager.until(queue_id, "the sink has stored some of it", lambda found: bool(step(found, SINK)["records"]))
    manager.kill_worker(queue_id, SINK)
    manager.until(queue_id, "another sink is there", lambda found: len(step(found, SINK)["attempts"]) > 1)
    workflow = manager.show(queue_id)
    manager.kill()
    os.kill(rig.worker_pid(manager.data, latest(workflow, LOADER)["job"]), signal.SIGKILL)
    exchange.lift_faults()
    manager.start()
    assert len(step(manager.finished(queue_id), LOADER)["attempts"]) > 1
    assert command.ids(RANGE) == IDS


def _assert_exported(command: Command, manager: rig.Manager, parquet: Path) -> None:
    counted = command.json("coverage", "BTCUSDT", TYPE, "--verify")
    assert (counted["records_counted"], counted["records_missing"]) == (14_400, 0)
    assert counted["coverage"]["complete"] is True
    minute = "2024-08-01T00:10Z:2024-08-01T00:11Z"
    table = command("export", "BTCUSDT", TYPE, minute, "--format", "csv").splitlines()
    assert table[:2] == [
        "symbol,id,time,price,quantity,buyer_is_maker",
        f"BTCUSDT,{FIRST + 1200},1722471000000,101.25,0.697,true",
    ]
    assert len(table) == 1 + 120
    command("export", "BTCUSDT", TYPE, minute, "--format", "parquet", "--output", str(parquet))
    assert pq.read_table(parquet)["id"].to_pylist() == IDS[1200:1320]
    assert command.json("schemas", "block_trades")["title"] == "BlockTrade"
    again = command.json("load", "BTCUSDT", TYPE, RANGE)
    assert (again["status"], again["records_stored"]) == ("finished", len(IDS))
    assert [one["attempts"] for one in manager.show(again["queue_id"])["steps"]] == [[], []]
