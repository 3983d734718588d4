"""Runs the benchmarks: `python -m benchmarks [NAME …] [--quick] [--again]`.

A whole run writes docs/reference/benchmarks.md; a part of it, or a quick one, build/benchmarks.md. The numbers also go
to build/benchmarks.json, those of a part to build/part.json. The exit code is 1 if a benchmark could not be run or a
target is missed; each such is named.
"""

from __future__ import annotations

import argparse
import compileall
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from benchmarks import (
    archive,
    bars,
    batch,
    book,
    clients,
    graphs,
    growth,
    kubernetes,
    loader,
    memory,
    networks,
    ping,
    proof,
    queues,
    sink,
    sources,
    start,
    stream,
    year,
)
from benchmarks.arango import memory as arango_memory
from benchmarks.arango import sink as arango_sink
from benchmarks.common.bench import Bench
from benchmarks.common.kept import Measured, keep, kept
from benchmarks.common.machine import Machine, this_machine
from benchmarks.common.measuring import Section, Size
from benchmarks.common.page import page, summary
from benchmarks.common.processes import ROOT
from benchmarks.common.quiet import adopt_orphans
from benchmarks.kafka import loader as kafka_loader
from benchmarks.kafka import ping as kafka_ping
from benchmarks.kafka import sink as kafka_sink
from benchmarks.kafka import start as kafka_start
from benchmarks.kafka import year as kafka_year
from benchmarks.live import latency as live_latency
from benchmarks.live import memory as live_memory
from benchmarks.live import rotation as live_rotation
from benchmarks.live import trades as live_trades
from benchmarks.ui import lists as ui_lists
from benchmarks.ui import route as ui_route
from benchmarks.ui import series as ui_series

BENCHMARKS: dict[str, Callable[[Bench], Section]] = {
    "loader": loader.run,
    "archive": archive.run,
    "sink": sink.run,
    "year": year.run,
    "sources": sources.run,
    "clients": clients.run,
    "growth": growth.run,
    "proof": proof.run,
    "book": book.run,
    "ping": ping.run,
    "start": start.run,
    "stream": stream.run,
    "live-trades": live_trades.run,
    "live-latency": live_latency.run,
    "live-rotation": live_rotation.run,
    "live-memory": live_memory.run,
    "memory": memory.run,
    "queues": queues.run,
    "batch": batch.run,
    "bars": bars.run,
    "graphs": graphs.run,
    "gat": networks.run_gat,
    "ladder": networks.run_ladder,
    "ui-route": ui_route.run,
    "ui-lists": ui_lists.run,
    "ui-series": ui_series.run,
    "arango-sink": arango_sink.run,
    "arango-memory": arango_memory.run,
    "kafka-loader": kafka_loader.run,
    "kafka-sink": kafka_sink.run,
    "kafka-ping": kafka_ping.run,
    "kafka-start": kafka_start.run,
    "kafka-year": kafka_year.run,
    "kubernetes": kubernetes.run,
}
"""Those of Kafka and Kubernetes run the real thing, as `make test-engines` does, and those of the web UI a browser, as
`make test-ui` does: they need what these need. "gat" and "ladder" need torch (make gnn-env)."""

LONG: dict[str, Callable[[Bench], Section]] = {
    "proof-100m": proof.run_whole,
    "live-memory-book": live_memory.run_books,
}
"""They take up to half an hour and 25 GB of disk, so they are run by name alone, and are no part of a whole run."""

WHOLE = "benchmarks.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what `arguments` (or the process's) name; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"all of them if none: {', '.join(BENCHMARKS)}; by name alone: {', '.join(LONG)}",
    )
    parser.add_argument("--quick", action="store_true", help="smaller: to see a change, not to be quoted")
    parser.add_argument(
        "--again",
        action="store_true",
        help="put it in its place in the last whole run of today, and say so",
    )
    given = parser.parse_args(arguments)
    names = given.names or list(BENCHMARKS)
    known = BENCHMARKS | LONG
    if unknown := sorted(set(names) - known.keys()):
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(known)}")
    if given.again and (given.quick or not given.names or not set(names) <= BENCHMARKS.keys()):
        parser.error("--again is for full runs of the benchmarks that are named, and are a part of the whole run")
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    for part in ("libs", "src", "benchmarks"):  # installs have bytecode, and a process that has none starts slowly
        compileall.compile_dir(ROOT / part, quiet=2)
    adopt_orphans()
    began = time.monotonic()
    machine = this_machine()
    before = _whole_run(parser, build, machine) if given.again else None
    bench = Bench(Size.QUICK if given.quick else Size.FULL)
    sections: dict[str, Section] = {}
    failed: list[str] = []
    for name in names:
        bench.begin(name)
        try:
            sections[name] = known[name](bench)
        except Exception:  # the others are still worth their time
            traceback.print_exc()
            failed.append(name)
    if sections:
        quiet = bench.quiet
        measured = Measured(
            machine=machine,
            minutes=(time.monotonic() - began) / 60,
            runs=quiet.runs,
            disturbed=quiet.disturbed,
            sections=sections,
        )
        print(summary(list(sections.values())))
        if quiet.disturbed:
            print(f"{quiet.disturbed} of {quiet.runs} runs were disturbed by other processes", file=sys.stderr)
        if before is not None:
            measured = before.followed_by(measured)
        keep(build / ("part.json" if given.quick or (given.names and not given.again) else WHOLE), measured)
        whole = not given.quick and measured.sections.keys() == BENCHMARKS.keys()
        target = (ROOT / "docs" / "reference" if whole else build) / "benchmarks.md"
        target.write_text(page(measured))
        print(f"written: {target.relative_to(ROOT)}", file=sys.stderr)
    if failed:
        print(f"could not be run: {', '.join(failed)}", file=sys.stderr)
    missed = [line for section in sections.values() for line in section.lines if line.passed is False]
    for line in missed:
        print(f"missed: {line.what}: {line.value}, the target is {line.target}", file=sys.stderr)
    return 1 if failed or missed else 0


def _whole_run(parser: argparse.ArgumentParser, build: Path, machine: Machine) -> Measured:
    try:
        before = kept(build / WHOLE)
    except (FileNotFoundError, msgspec.DecodeError) as error:
        parser.error(f"--again needs the numbers of a whole run in build/{WHOLE}: {error}")
    if not before.is_of(machine):
        parser.error(f"--again: build/{WHOLE} is of another machine or another day: measure all of it")
    return before


if __name__ == "__main__":
    sys.exit(main())
