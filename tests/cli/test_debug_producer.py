"""debug_producer.py as a process, against a dummy-service that runs beside it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streamforge import wiring
from streamforge.cli.debug_producer import main
from streamforge.cli.places import data_directory
from streamforge_utils.adapters.embedded.bus.embedded_bus import EmbeddedBus
from streamforge_utils.runtime.output.topic_specs import talk_topic
from tests.limits import LIMIT_S
from tests.places import ROOT
from tests.runtime.rig import CONTROL, EVENTS, QUEUE, Rig, words

pytestmark = pytest.mark.e2e

SCRIPT = "services/dummy-service/debug_producer.py"


async def start(rig: Rig, *arguments: str, cwd: Path = ROOT, **environment: str) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "STREAMFORGE_DATA_DIR": str(rig.folder), **environment},
        stdout=PIPE,
        stderr=PIPE,
    )


async def ended(process: Process) -> tuple[int, str, str]:
    async with asyncio.timeout(LIMIT_S):
        out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def produced(rig: Rig, *arguments: str, **environment: str) -> tuple[int, str, str]:
    return await ended(await start(rig, SCRIPT, *arguments, cwd=ROOT, **environment))


@pytest.fixture
async def dummy(rig: Rig) -> AsyncIterator[Process]:
    process = await start(
        rig,
        *("-m", "app.main", "--debug", "--simulate-loading"),
        cwd=ROOT / "services" / "dummy-service",
        QUEUE_ID=QUEUE,
        STREAMFORGE_METRICS_PORT="0",
        STREAMFORGE_STOP_GRACE_SECONDS="20",
    )
    await rig.until_event("started")
    yield process
    if process.returncode is None:
        process.kill()
        await process.communicate()


async def test_pings_are_answered_and_a_stop_is_obeyed(rig: Rig, dummy: Process) -> None:
    ping = ("--command", "ping", "--expect-pong")
    code, out, err = await produced(rig, "--queue-id", QUEUE, *ping)
    assert (code, err) == (0, ""), out
    lines = out.splitlines()
    assert lines[0] == f"1: ping to {QUEUE}"
    assert lines[1].startswith("1: pong from dummy-service__abc123 (attempt 1) after ")
    assert lines[2].startswith("1 of 1 sent, 1 answered by pong; RTT p50 ")
    many = ("--repeat", "4", "--interval", "0.01", "--target", "dummy-service", "--json")
    code, out, _ = await produced(rig, "--queue-id", "*", *ping, *many)
    told = [json.loads(line) for line in out.splitlines()]
    assert code == 0, out
    assert [line["kind"] for line in told] == ["connected", *(["sending", "answer"] * 4), "summary"]
    assert (told[-1]["sent"], told[-1]["answered"]) == (4, 4)
    rtts = sorted(line["rtt_ms"] for line in told if line["kind"] == "answer")
    assert told[-1]["rtt_ms"] == {"p50": rtts[1], "p99": rtts[3], "max": rtts[3]}
    code, out, err = await produced(rig, "--queue-id", QUEUE, "--command", "stop", "--expect", "interrupted")
    assert (code, err) == (0, ""), out
    assert out.startswith(f"1: stop to {QUEUE}\n1: interrupted from dummy-service__abc123 (attempt 1)\n1 of 1 sent")
    assert (await ended(dummy))[0] == 0
    assert words(await rig.events()) == ["started", "interrupted"]


async def test_events_are_followed_until_ctrl_c(rig: Rig, dummy: Process) -> None:
    process = await start(rig, SCRIPT, "--queue-id", QUEUE, "--follow", "--json")
    assert process.stdout is not None
    async with asyncio.timeout(LIMIT_S):
        kinds = [json.loads(await process.stdout.readline()) for _ in range(3)]
    process.send_signal(signal.SIGINT)
    code, _, err = await ended(process)
    assert (code, err) == (0, "")
    assert [line["kind"] for line in kinds] == ["connected", "event", "event"]
    assert {line["event"]["event"] for line in kinds[1:]} == {"loading"}


async def test_without_an_answer_it_fails_in_time(rig: Rig) -> None:
    quick = ("--expect-pong", "--timeout", "0.2")
    code, out, err = await produced(rig, "--queue-id", QUEUE, "--command", "ping", *quick)
    assert (code, err) == (1, "")
    assert out.splitlines()[1:] == ["1: no pong within 0.2 s", "1 of 1 sent, 0 answered by pong"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--queue-id", QUEUE], "nothing to do: name a --command, or --follow the events of the queue"),
        (["--command", "ping"], "missing option '--queue-id'"),
        (["--queue-id", "a b", "--command", "ping"], "--queue-id 'a b': it holds other than letters"),
        (["--queue-id", QUEUE, "--command", "stop", "--expect-pong"], "--expect-pong goes with --command ping"),
        (["--queue-id", QUEUE, "--command", "x", "--payload", "[1]"], "--payload '[1]' is no JSON object"),
        (["--queue-id", QUEUE, "--command", "x", "--payload", "{"], "--payload '{' is no JSON: "),
        (["--queue-id", QUEUE, "--follow", "--expect", "pong"], "--expect needs a --command"),
        (
            ["--queue-id", QUEUE, "--command", "ping", "--expect", "love"],
            "--expect must be one of started, loading, finished, interrupted, error, pong, not 'love'",
        ),
        (["--queue-id", QUEUE, "--command", "ping", "--repeat", "0"], "--repeat must be at least 1, not '0'"),
        (["--queue-id", QUEUE, "--command", "ping", "--timeout", "nan"], "--timeout must be a number, not 'nan'"),
    ],
)
def test_wrong_options_are_exit_code_2_and_a_sentence(
    capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    code = main(arguments)
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert sentence in err
    assert "Traceback" not in err


async def test_without_a_data_directory_it_takes_that_of_the_command_line(rig: Rig) -> None:
    quick = ("--queue-id", QUEUE, "--command", "stop")
    code, _, err = await produced(rig, *quick, STREAMFORGE_DATA_DIR="", XDG_DATA_HOME="", HOME=str(rig.folder))
    assert code == 2
    # Where no service ever ran: who only asks makes no topics.
    assert "there is no topic queue-events (QUEUE_EVENTS_TOPIC) and no topic queue-control" in err
    home = {"STREAMFORGE_DATA_DIR": "", "XDG_DATA_HOME": "", "HOME": str(rig.folder)}
    bus = EmbeddedBus(data_directory(None, home) / wiring.BUS)
    for topic in (CONTROL, EVENTS):
        await bus.create_topic(talk_topic(topic))
    await bus.close()
    code, _, err = await produced(rig, *quick, **home)
    assert (code, err) == (0, "")


async def test_a_data_directory_that_is_none_is_a_sentence(rig: Rig) -> None:
    one = ("--queue-id", QUEUE, "--command", "ping", "--expect-pong")
    (rig.folder / "file").write_text("no folder")
    code, _, err = await produced(rig, *one, STREAMFORGE_DATA_DIR=str(rig.folder / "file"))
    assert code in (1, 2)
    assert err.count("\n") == 1
    assert "Traceback" not in err
