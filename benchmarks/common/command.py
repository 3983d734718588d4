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
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.runtime.life.server_settings import KafkaSettings
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
    """A load of so many records. seconds: of the whole command, from its start to its end."""

    records: int
    seconds: float
    inside_s: float


def load(bench: Bench, candles: int, kafka: KafkaSettings = EMBEDDED) -> Run:
    """Load so many 1m candles from a new test exchange into a new data directory. kafka: the bus, if not embedded.

    Raises RuntimeError if what comes out is not the proof that every one is stored.
    """
    with exchange() as url:
        return load_series(bench, url, TYPE, minutes(candles), records=candles, **kafka.environment())


def load_series(
    bench: Bench, url: str, type_name: str, span: TimeRange, *, records: int | None = None, **settings: str
) -> Run:
    """Load a range from the exchange at `url` into a new data directory. records: how many it has, where known.

    settings: further variables of the command. Raises RuntimeError if what comes out is no proof that all are stored.
    """
    with bench.folder() as folder:
        command = (
            *(sys.executable, "-m", "streamforge.cli", "load", SYMBOL, type_name, str(span)),
            *("--json", "--exchange", url, "--data", str(folder / "data")),
        )
        variables = environment(STREAMFORGE_TOTAL_WEIGHT_PER_MINUTE=str(UNLIMITED_WEIGHT), **settings)
        began = time.perf_counter()
        process = subprocess.run(command, capture_output=True, cwd=ROOT, env=variables, timeout=LIMIT_S, check=False)
        seconds = time.perf_counter() - began
    if process.returncode:
        raise RuntimeError(f"`load` ended with exit code {process.returncode}: {process.stderr.decode()[-2000:]}")
    loaded = msgspec.json.decode(process.stdout, type=Loaded)
    proven = [(s.start_ms, s.end_ms, s.verdict, s.records) for s in loaded.coverage]
    stored = loaded.records_stored
    if (
        loaded.status != "finished"
        or not stored
        or loaded.records_expected != stored
        or records not in (None, stored)
        or proven != [(span.start_ms, span.end_ms, Verdict.STORED, stored)]
    ):
        raise RuntimeError(f"`load` did not prove {records or 'all'} records: {process.stdout.decode()[:2000]}")
    return Run(stored, seconds, loaded.seconds)
