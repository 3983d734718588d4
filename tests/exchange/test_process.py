"""The test exchange as a process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from tests.limits import LIMIT_S

COMMAND = [sys.executable, "-m", "streamforge.exchange"]


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline()
    finally:
        process.kill()
        process.communicate(timeout=LIMIT_S)


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=LIMIT_S) as answer:
        return bytes(answer.read())


def test_it_says_where_it_serves_and_stops_in_order() -> None:
    with running("--json", "--now", "2024-08-01T12:00", "--hole", "BTCUSDT@2024-08-01T10:00Z:2024-08-01T11:00Z") as (
        process,
        line,
    ):
        ready = json.loads(line)
        assert 1_722_513_600_000 <= json.loads(get(ready["url"] + "/api/v3/time"))["serverTime"] < 1_722_513_620_000
        assert "这是测试币456" in ready["symbols"]
        rows = json.loads(get(f"{ready['url']}/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=3"))
        assert [row[0] for row in rows] == [1_722_502_800_000, 1_722_510_000_000, 1_722_513_600_000]
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 0


def test_it_does_not_stop_only_after_a_client_that_waits() -> None:
    with running("--fault", "stall:seconds=300") as (process, line):
        assert line.startswith("test exchange: http://127.0.0.1:")
        url = line.split()[2]
        client = subprocess.Popen(
            [sys.executable, "-c", f"import urllib.request as u; u.urlopen({url + '/api/v3/ping'!r}, timeout=200)"],
            stderr=subprocess.DEVNULL,
        )
        while not json.loads(get(f"{url}/control/faults"))["faults"][0]["struck"]:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 0
        assert client.wait(LIMIT_S) == 1


def test_what_cannot_be_served_is_named() -> None:
    for arguments, complaint in (
        (["--fault", "fire"], "fault 'fire' is not known"),
        (["--replay", "nowhere"], "no such folder"),
        (["--now", "noon"], "instant 'noon' is not ISO 8601"),
        (["--hole", "BTCUSDT"], "hole 'BTCUSDT' is not understood"),
    ):
        ended = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=LIMIT_S, check=False)
        assert ended.returncode == 2
        assert complaint in ended.stderr
        assert "Traceback" not in ended.stderr
