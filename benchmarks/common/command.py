"""`streamforge load` as a person types it: the real command, its manager, its workers, and the test exchange."""

from __future__ import annotations

import subprocess
import sys
import time

import msgspec

from benchmarks.common.bench import Bench
from benchmarks.common.exchange import SYMBOL
from benchmarks.common.processes import ROOT, UNLIMITED_WEIGHT, exchange
from benchmarks.common.workflow import EMBEDDED, TYPE, minutes
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.runtime.server_settings import KafkaSettings
from tests.cleanenv import environment

LIMIT_S = 480.0


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """What `load --json` ends with. seconds: as the command itself saw it, without its own start."""

    status: str
    records_expected: int | None
    records_stored: int
    coverage: list[Segment]
    seconds: float


class Run(msgspec.Struct, frozen=True):
    """A load of so many candles. seconds: of the whole command, from its start to its end."""

    candles: int
    seconds: float
    inside_s: float


def load(bench: Bench, candles: int, kafka: KafkaSettings = EMBEDDED) -> Run:
    """Load so many 1m candles from a new test exchange into a new data directory. kafka: the bus, if not embedded.

    Raises RuntimeError if what comes out is not the proof that every one is stored.
    """
    span = minutes(candles)
    with bench.folder() as folder, exchange() as url:
        command = (
            *(sys.executable, "-m", "streamforge.cli", "load", SYMBOL, TYPE, str(span)),
            *("--json", "--exchange", url, "--data", str(folder / "data")),
        )
        settings = environment(STREAMFORGE_TOTAL_WEIGHT_PER_MINUTE=str(UNLIMITED_WEIGHT), **kafka.environment())
        began = time.perf_counter()
        process = subprocess.run(command, capture_output=True, cwd=ROOT, env=settings, timeout=LIMIT_S, check=False)
        seconds = time.perf_counter() - began
    if process.returncode:
        raise RuntimeError(f"`load` ended with exit code {process.returncode}: {process.stderr.decode()[-2000:]}")
    loaded = msgspec.json.decode(process.stdout, type=Loaded)
    proven = [(s.start_ms, s.end_ms, s.verdict, s.records) for s in loaded.coverage]
    if (
        loaded.status != "finished"
        or loaded.records_expected != candles
        or loaded.records_stored != candles
        or proven != [(span.start_ms, span.end_ms, Verdict.STORED, candles)]
    ):
        raise RuntimeError(f"`load` did not prove {candles} candles: {process.stdout.decode()[:2000]}")
    return Run(candles, seconds, loaded.seconds)
