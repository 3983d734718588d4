"""gnn-trainer on the embedded store and a folder of objects: what it publishes, and what is left where it is ended."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pyarrow.parquet
import pytest

from streamforge.analytics.graphs import graph_manifest
from streamforge.analytics.graphs.order import GraphOrder, order_name
from streamforge.analytics.models.folds import FoldRules
from streamforge.analytics.models.model_file import read_model
from streamforge.analytics.models.model_manifest import (
    ModelManifest,
    checkpoints_of,
    manifest_name,
    read_model_manifest,
)
from streamforge.workers import graph_builder
from streamforge.workers.gnn_trainer import DEFINITION
from streamforge_utils.model.coverage import Segment, Verdict, clip
from tests.analytics.models.markets import DAY_MS, START_MS
from tests.limits import LIMIT_S
from tests.runtime.rig import QUEUE, last, until
from tests.workers.trainer_rig import DAYS, SETTINGS, TrainerRig, checkpoints, children, is_alive

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> ModelManifest:
    """What is published where nothing disturbs it."""

    async def made() -> ModelManifest:
        rig = TrainerRig(tmp_path_factory.mktemp("whole"))
        await rig.prepare()
        await rig.fill()
        assert await rig.live(DEFINITION) == 0
        found = await rig.manifest()
        await rig.close()
        return found

    return asyncio.run(made())


async def begun(folder: Path, parts: int = 1, **environment: str) -> tuple[TrainerRig, asyncio.Task[int], int]:
    """A trainer that has kept some parts; what waits for its exit code, and its training process."""
    rig = TrainerRig(folder)
    rig.environment |= environment
    await rig.prepare()
    await rig.fill()
    running = asyncio.create_task(rig.live(DEFINITION))
    await until(lambda: len(checkpoints(rig)) >= parts)
    (child,) = children()
    return rig, running, child


async def test_the_graph_it_learnt_on_has_the_identity_that_graph_builder_gives_it(tmp_path: Path) -> None:
    rig = TrainerRig(tmp_path)
    await rig.prepare()
    await rig.fill()
    days = [START_MS + day * DAY_MS for day in (0, 20, 21, DAYS)]
    verdicts = [(Verdict.STORED, "bars"), (Verdict.EXCHANGE, None), (Verdict.STORED, "bars")]
    inputs = {
        f"C{coin:03}USDT": [
            Segment(start_ms=start, end_ms=end, verdict=verdict, collection=collection)
            for (verdict, collection), start, end in zip(verdicts, days, days[1:], strict=False)
        ]
        for coin in range(6)
    }
    order = await rig.fill(inputs=inputs)
    assert await rig.live(DEFINITION) == 0
    found = await rig.manifest()
    assert found.graph is not None
    graph = GraphOrder(
        graph="g",
        definition=found.dataset.graph,
        type=found.type,
        start_ms=found.graph.start_ms,
        end_ms=found.graph.end_ms,
        inputs={},
    )
    assert graph.times == order.times
    proven = {symbol: clip(segments, graph.seen) for symbol, segments in inputs.items()}
    await rig.objects.put(order_name(QUEUE), msgspec.json.encode(msgspec.structs.replace(graph, inputs=proven)))
    rig.environment |= {"TYPE": "gnn_graph", "STREAMFORGE_ATTEMPT": "2"}
    assert await rig.live(graph_builder.DEFINITION) == 0
    name = graph_manifest.manifest_name("g", found.graph.graph_id)
    made = graph_manifest.read_manifest(await rig.content(name), name)
    assert (made.graph_id, made.data_version) == (found.graph.graph_id, found.graph.data_version)
    for card in ("card.md", "card.html"):
        text = (await rig.content(found.files[card].name)).decode()
        assert f"Graph {made.graph_id} of 2024-02-15:2024-03-29, data {made.data_version}." in text
    await rig.close()


def test_a_manifest_from_before_the_graph_was_told_still_reads(whole: ModelManifest) -> None:
    told = msgspec.to_builtins(whole)
    del told["graph"]
    assert read_model_manifest(msgspec.json.encode(told), "m") == msgspec.structs.replace(whole, graph=None)


async def test_what_is_published_is_whole_and_named_by_the_manifest(tmp_path: Path) -> None:
    rig = TrainerRig(tmp_path)
    await rig.prepare()
    order = await rig.fill()
    assert await rig.live(DEFINITION) == 0
    found = await rig.manifest()
    assert {*found.files} == {"model.safetensors", "predictions.parquet", "card.json", "card.md", "card.html"}
    contents = {name: await rig.content(file.name) for name, file in found.files.items()}
    for name, file in found.files.items():
        assert (len(contents[name]), hashlib.sha256(contents[name]).hexdigest()) == (file.size, file.sha256)
    assert {*await rig.names()} == {file.name for file in found.files.values()} | {manifest_name("m", found.run_id)}
    assert [name for name in rig.objects.put_names if name.startswith("models/m/") and "checkpoints" not in name][
        -1
    ] == manifest_name("m", found.run_id)
    card = json.loads(contents["card.json"])
    assert card["verdict"]["outcome"] == found.result.outcome
    assert card["training"] | {"versions": None} == {
        "name": "m",
        "model": "neighbour_mean",
        "settings": "neighbour mean, penalty 0.001",
        "device": "cpu",
        "threads": 1,
        "versions": None,
        "graph": msgspec.to_builtins(found.graph),
    }
    head, state = read_model(contents["model.safetensors"], "x")
    assert (head.name, head.run_id, head.moments, head.last_ms) == (
        "m",
        found.run_id,
        len(order.times),
        order.times[-1],
    )
    assert state["weights"].shape == (8,)
    table = pyarrow.parquet.read_table(io.BytesIO(contents["predictions.parquet"]))
    assert table.column_names[:3] == ["time", "symbol", "return"]
    assert {*table.column_names[3:]} == {one["model"] for one in card["scores"]}
    assert len({*table["time"].to_pylist()}) == found.result.moments
    progress = [event.extra or {} for event in await rig.events() if event.event == "loading"]
    assert any("parts are there, the latest: " in one.get("waiting", "") for one in progress)
    await rig.close()


async def test_what_is_published_already_is_not_trained_again(tmp_path: Path) -> None:
    rig = TrainerRig(tmp_path)
    await rig.prepare()
    await rig.fill()
    assert await rig.live(DEFINITION) == 0
    first = await rig.manifest()
    rig.environment["STREAMFORGE_ATTEMPT"] = "2"
    left = f"{checkpoints_of('m')}a-1-0"  # of an attempt that was killed after it had published the model
    await rig.objects.put(left, b"")
    rig.objects.put_names.clear()
    assert await rig.live(DEFINITION) == 0
    assert await rig.manifest() == first
    assert rig.objects.put_names == [f"orders/{QUEUE}-made.json"]
    assert left not in await rig.names()
    await rig.close()


async def test_a_published_file_that_is_damaged_is_made_again(tmp_path: Path) -> None:
    rig = TrainerRig(tmp_path)
    await rig.prepare()
    await rig.fill()
    assert await rig.live(DEFINITION) == 0
    first = await rig.manifest()
    name = first.files["predictions.parquet"].name
    content = await rig.content(name)
    (tmp_path / "objects" / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # as long as it was
    rig.environment["STREAMFORGE_ATTEMPT"] = "2"
    assert await rig.live(DEFINITION) == 0
    assert await rig.manifest() == first
    assert await rig.content(name) == content
    await rig.close()


async def test_in_processes_of_any_number_the_same_is_published(tmp_path: Path, whole: ModelManifest) -> None:
    for number in ("1", "3"):
        rig = TrainerRig(tmp_path / number)
        rig.environment["STREAMFORGE_PROCESSES"] = number
        await rig.prepare()
        await rig.fill()
        assert await rig.live(DEFINITION) == 0
        assert await rig.manifest() == whole
        await rig.close()


@pytest.mark.parametrize("after", [1, 20])
async def test_it_is_stopped_at_once_and_goes_on_to_the_same_bytes(
    tmp_path: Path, whole: ModelManifest, after: int
) -> None:
    rig = TrainerRig(tmp_path)
    await rig.prepare()
    await rig.fill()
    running = asyncio.create_task(rig.live(DEFINITION))
    await until(lambda: len(checkpoints(rig)) >= after)
    await rig.command("stop")
    assert await running == 0
    event, _ = last(await rig.events())
    assert event.event == "interrupted"
    names = await rig.names()
    assert len(names) >= after
    assert all("/checkpoints/" in name for name in names)
    damaged = tmp_path / "objects" / names[0]
    damaged.write_bytes(damaged.read_bytes()[::-1])
    rig.environment |= {"STREAMFORGE_ATTEMPT": "2", "STREAMFORGE_LAUNCHED_AT": repr(rig.clock.now_ms() / 1000 + 60)}
    rig.objects.put_names.clear()
    assert await rig.live(DEFINITION) == 0
    assert await rig.manifest() == whole
    assert {*names} & {*rig.objects.put_names} == {names[0]}  # all others are taken over
    await rig.close()


async def test_a_training_process_that_is_killed_is_told_and_the_next_attempt_goes_on(
    tmp_path: Path, whole: ModelManifest
) -> None:
    rig, running, child = await begun(tmp_path, parts=3)
    os.kill(child, signal.SIGKILL)
    assert await running == 1
    event, _ = last(await rig.events())
    assert "ended by SIGKILL" in (event.error_message or "")
    rig.environment["STREAMFORGE_ATTEMPT"] = "2"
    assert await rig.live(DEFINITION) == 0
    assert await rig.manifest() == whole
    await rig.close()


async def test_a_ping_and_a_stop_are_answered_while_the_training_process_is_deaf(tmp_path: Path) -> None:
    rig, running, child = await begun(tmp_path)
    os.kill(child, signal.SIGSTOP)
    await rig.command("ping")
    await rig.until_event("pong")
    await rig.command("stop")
    assert await running == 0
    assert last(await rig.events())[0].event == "interrupted"
    assert not children()
    await rig.close()


async def test_it_is_stopped_while_a_process_of_the_ladder_would_learn_for_ever(tmp_path: Path) -> None:
    rig, running, child = await begun(tmp_path, STREAMFORGE_PROCESSES="2")
    await until(lambda: len(children(child, b"--multiprocessing-fork")) == 2)
    deaf, other = children(child, b"--multiprocessing-fork")
    os.kill(deaf, signal.SIGSTOP)
    await rig.command("ping")
    await rig.until_event("pong")
    await rig.command("stop")
    assert await running == 0
    assert last(await rig.events())[0].event == "interrupted"
    assert all("/checkpoints/" in name for name in await rig.names())
    assert not children()
    await until(lambda: not is_alive(other))
    os.kill(deaf, signal.SIGCONT)
    await until(lambda: not is_alive(deaf))
    await rig.close()


async def test_a_process_of_the_ladder_that_is_killed_is_told_and_the_next_attempt_goes_on(
    tmp_path: Path, whole: ModelManifest
) -> None:
    rig, running, child = await begun(tmp_path, STREAMFORGE_PROCESSES="2")
    os.kill(children(child, b"--multiprocessing-fork")[0], signal.SIGKILL)
    assert await running == 1
    assert "a process of the ladder ended by itself or was killed" in (last(await rig.events())[0].error_message or "")
    rig.environment["STREAMFORGE_ATTEMPT"] = "2"
    assert await rig.live(DEFINITION) == 0
    assert await rig.manifest() == whole
    await rig.close()


async def test_the_training_process_ends_with_its_parent(tmp_path: Path) -> None:
    rig = TrainerRig(tmp_path)
    await rig.prepare()
    await rig.fill()
    reading, writing = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streamforge.analytics.models.training"), stdin=reading, stdout=asyncio.subprocess.PIPE
    )
    os.close(reading)
    os.close(writing)
    assert await asyncio.wait_for(process.wait(), LIMIT_S) == 3
    await rig.close()


@pytest.mark.parametrize("last_file", ["card.html", "manifest.json", "random-1-0"])
async def test_objects_that_are_full_end_it_with_the_reason(tmp_path: Path, last_file: str) -> None:
    rig = TrainerRig(tmp_path)
    await rig.prepare()
    await rig.fill()
    rig.objects.refusing = last_file
    assert "the bucket is full" in await rig.refused(1)
    await rig.close()


async def test_markets_that_tell_nothing_are_refused_by_name(tmp_path: Path) -> None:
    rig = TrainerRig(tmp_path)
    await rig.prepare()
    await rig.fill(coins=2)
    assert "three coins" in await rig.refused(1)
    rig.environment["STREAMFORGE_ATTEMPT"] = "2"
    await rig.fill(coins=6, evaluation=msgspec.structs.replace(SETTINGS, folds=FoldRules(test=5, least_train=300)))
    assert "too few" in await rig.refused(1)
    await rig.close()


def test_neither_the_worker_nor_the_manager_needs_the_packages_to_begin() -> None:
    heavy = ("numpy", "pyarrow", "safetensors", "torch")
    code = "import sys, streamforge.workers.gnn_trainer, streamforge.manager.api.app;"
    code += f"print([one for one in {heavy} if one in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
