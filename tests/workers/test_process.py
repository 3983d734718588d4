"""Workers as real processes: exit codes, signals, kill -9, bad settings, the time of `started`."""

from __future__ import annotations

import asyncio
import os
import platform
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from streamforge.exchange.config import ExchangeConfig
from streamforge.exchange.exchange_server import serve
from tests.limits import LIMIT_S
from tests.places import ROOT
from tests.runtime.rig import COLLECTION, Rig, last, words

pytestmark = pytest.mark.e2e

REPOSITORY = ROOT
START = 1_722_470_400_000


async def start(environment: Mapping[str, str], *arguments: str, cwd: Path | None = None) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        env={name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ} | dict(environment),
        cwd=cwd,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def sink(rig: Rig, **environment: str) -> asyncio.subprocess.Process:
    return await start(rig.environment | environment, "-m", "streamforge.workers", "arango-candles")


async def ended(process: asyncio.subprocess.Process) -> tuple[int, str]:
    """Exit code and what was written."""
    async with asyncio.timeout(LIMIT_S):
        out, err = await process.communicate()
    return process.returncode or 0, (out + err).decode()


async def test_both_workers_bring_the_exchange_s_candles_to_the_store(rig: Rig) -> None:
    async with await serve(ExchangeConfig(port=0, now_ms=START + 30 * 86_400_000)) as exchange:
        environment = rig.environment | {"STREAMFORGE_EXCHANGE_URL": exchange.url}
        processes = [
            await start(environment, "-m", "app.main", cwd=REPOSITORY / "services" / target)
            for target in ("arango-candles", "loader-api-candles")
        ]
        results = [await ended(process) for process in processes]
    assert [code for code, _ in results] == [0, 0], results
    assert await rig.stored.count(COLLECTION) == 1440
    events = await rig.events()
    for producer in ("arango-candles__abc123", "loader-api-candles__abc123"):
        said = [event for event in events if event.producer == producer]
        assert words(said) == ["started", "finished"]
        assert last(said)[1].records == 1440
        assert said[-1].finished


FORKED = """
import sys
from streamforge.workers.__main__ import main
from streamforge_utils.adapters.embedded.launcher import fork_server

def run_one(descriptor, run):
    known = set(sys.modules)
    print("exit code", run(sys.argv[1:]), "imports", sorted(set(sys.modules) - known))

fork_server.serve = run_one
main(["--fork-server", "0"])
"""


async def test_a_forked_worker_imports_nothing(rig: Rig) -> None:
    async with await serve(ExchangeConfig(port=0, now_ms=START + 30 * 86_400_000)) as exchange:
        environment = rig.environment | {"STREAMFORGE_EXCHANGE_URL": exchange.url}
        for target in ("loader-api-candles", "arango-candles"):
            _, output = await ended(await start(environment, "-c", FORKED, target))
            assert "exit code 0 imports []" in output


FAULTS = """
import resource, sys
from streamforge_utils.runtime.life.worker_process import tune_interpreter

if sys.argv[1] == "tuned":
    tune_interpreter()
for number in range(25):
    if number == 5:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    batch = [bytes(400_000 + number) for _ in range(20)]
    del batch
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


async def test_a_worker_keeps_the_memory_of_a_batch_for_the_next_one() -> None:
    faults = {}
    for settings in ("none", "tuned"):
        code, output = await ended(await start({}, "-c", FAULTS, settings))
        assert code == 0, output
        faults[settings] = int(output.splitlines()[-1])
    if platform.libc_ver()[0] == "glibc":
        assert faults["tuned"] * 10 < faults["none"], faults
    else:
        assert faults["tuned"] <= 2 * faults["none"], "elsewhere it changes nothing"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_in_order_with_exit_code_1(rig: Rig, number: signal.Signals) -> None:
    process = await sink(rig)
    await rig.until_event("started")
    process.send_signal(number)
    code, output = await ended(process)
    events = await rig.events()
    assert (code, words(events)) == (1, ["started", "interrupted"]), output
    said, _, left = (events[-1].message or "").partition("; ")
    assert said == f"stopped by {number.name}"
    assert left in ("", "all that was sent is stored"), "the former where the signal came before its input was there"


async def test_the_command_ends_it_with_exit_code_0(rig: Rig) -> None:
    begun = time.time()
    process = await sink(rig, STREAMFORGE_DRAIN_SECONDS="0.5")  # no loader says here that it has ended
    event = (await rig.until_event("started"))[0]
    assert begun < event.timestamp < time.time()
    await rig.command("stop")
    assert (await ended(process))[0] == 0
    assert words(await rig.events()) == ["started", "interrupted"]


async def test_bad_settings_are_exit_code_2_and_said_on_the_bus(rig: Rig) -> None:
    process = await sink(rig, STREAMFORGE_ATTEMPT="0", TYPE="api_candles_9m", BINANCE_API_KEY="hush-hush")
    code, output = await ended(process)
    assert code == 2
    (event,) = await rig.events()
    assert (event.event, event.finished) == ("error", True)
    assert {"exit_code": 2, "permanent": True}.items() <= (event.extra or {}).items()
    for text in (event.error_message or "", output):
        assert "STREAMFORGE_ATTEMPT" in text
        assert "api_candles_9m" in text
        assert "hush" not in text


async def test_bad_settings_without_a_bus_are_told_on_stderr() -> None:
    process = await start({}, "-m", "streamforge.workers", "arango-candles")
    code, output = await ended(process)
    assert code == 2
    for name in ("QUEUE_ID", "STREAMFORGE_DATA_DIR", "COLLECTION_NAME", "STREAMFORGE_UPSTREAM"):
        assert f"{name} is missing" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("arguments", [[], ["nope"], ["--what"], ["arango-candles", "loader-api-candles"]])
async def test_a_wrong_command_line_is_exit_code_2_with_the_usage(arguments: list[str]) -> None:
    code, output = await ended(await start({}, "-m", "streamforge.workers", *arguments))
    assert code == 2
    assert "usage: python -m streamforge.workers TARGET" in output


async def test_a_bus_that_cannot_be_reached_is_exit_code_2_or_1_and_told(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    process = await sink(rig, STREAMFORGE_DATA_DIR=str(tmp_path / "file"))
    code, output = await ended(process)
    assert code in (1, 2)
    assert "the terminal event could not be published" in output


async def test_a_secret_is_in_no_line_and_no_event(rig: Rig) -> None:
    environment = rig.environment | {
        "BINANCE_API_KEY": "hush-hush-key",
        "STREAMFORGE_EXCHANGE_URL": "http://127.0.0.1:9/hush-hush-key",
        "STREAMFORGE_REQUEST_ATTEMPTS": "1",
        "STREAMFORGE_DEBUG": "1",
        "STREAMFORGE_ATEMPT": "hush-hush",
    }
    process = await start(environment, "-m", "streamforge.workers", "loader-api-candles", "--debug")
    code, output = await ended(process)
    assert code in (1, 2)
    assert "hush" not in output
    assert "STREAMFORGE_ATEMPT is set, but nothing reads it: is STREAMFORGE_ATTEMPT meant?" in output
    for message in await rig.read("queue-events"):
        assert b"hush" not in message.value
