"""`make demo`: twice in a row, with a summary that is true and commands that work as printed."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from streamforge.manager.coverage import answers as data_answers
from tests.cleanenv import environment
from tests.cli.support import START_MS, exchange
from tests.limits import LIMIT_S
from tests.places import ROOT
from tools.demo import __main__ as demo

pytestmark = pytest.mark.e2e

DAY_MS = 86_400_000


def run(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.demo", *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
        cwd=folder,
        env=environment(PYTHONPATH=str(ROOT), **more),
    )


def test_it_proves_a_day_twice_and_its_advice_works(tmp_path: Path) -> None:
    advice: list[str] = []
    for again in (False, True):
        ran = run(tmp_path, "--exchange", "test")
        assert ran.returncode == 0, ran.stderr
        assert "Traceback" not in ran.stderr
        assert ("loading the day again on top of it (--again)" in ran.stderr) is again
        for truth in (
            "from the test exchange (made up)",
            "asked for  1,440 candles: one for each minute of the day",
            "stored     1,440, read back just now",
            "proven     yes",
            f"data       {tmp_path}/build/demo/test",
            "(finished)",
            "2024-08-01T23:59Z",
            "streamforge up --data build/demo/test` prints the link of the web UI",
        ):
            assert truth in ran.stdout
        advice = ran.stdout.partition("Try next:\n")[2].splitlines()
    assert len(advice) == 3
    for command in advice:
        tried = subprocess.run(
            shlex.split(command),
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
            cwd=tmp_path,
            env=environment(),
        )
        assert tried.returncode == 0, (command, tried.stderr)
    assert (tmp_path / "build" / "btcusdt.csv").read_text().count("\n") == 1441


def test_it_says_when_the_day_is_not_proven(tmp_path: Path) -> None:
    with exchange("--hole", "BTCUSDT@2024-08-01T02:00Z:2024-08-01T02:05Z") as url:
        ran = run(tmp_path, "--data", "data", STREAMFORGE_EXCHANGE_URL=url)
    assert ran.returncode == 1
    assert "proven     NO" in ran.stdout
    assert "exchange  2024-08-01T02:00Z to 2024-08-01T02:05Z" in ran.stdout
    assert "demo: the day is not proven complete" in ran.stderr


async def test_binance_is_used_only_where_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with exchange() as url:
        monkeypatch.setenv("STREAMFORGE_EXCHANGE_URL", url)
        assert await demo.binance_answers()
    monkeypatch.setenv("STREAMFORGE_EXCHANGE_URL", "http://127.0.0.1:1")
    assert not await demo.binance_answers()


def segment(verdict: str, records: int) -> data_answers.Segment:
    end_ms = START_MS + DAY_MS
    return data_answers.Segment(start="", end="", start_ms=START_MS, end_ms=end_ms, verdict=verdict, records=records)


def test_proven_means_every_minute_of_the_day() -> None:
    closes = [demo._Close(START_MS + minute * 60_000, 1.0) for minute in range(1440)]
    whole = segment("stored", 1440)
    assert demo.is_proven([whole], closes)
    assert not demo.is_proven([whole], closes[:-1])
    assert not demo.is_proven([whole], [*closes[:700], closes[701], *closes[701:]])
    assert not demo.is_proven([], closes)
    hole = segment("unknown", 0)
    assert not demo.is_proven([whole, hole], closes)
