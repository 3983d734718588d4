"""Runs the benchmarks: `python -m benchmarks [NAME …] [--quick]`.

A whole run writes docs/benchmarks.md; a part of it, or a quick one, writes build/benchmarks.md. The numbers also go to
build/benchmarks.json. The exit code is 1 if a benchmark could not be run or a target is missed; each such is named.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable, Sequence

import msgspec

from benchmarks import growth, kubernetes, loader, memory, ping, queues, sink, start, year
from benchmarks.arango import memory as arango_memory
from benchmarks.arango import sink as arango_sink
from benchmarks.common.bench import Bench
from benchmarks.common.machine import this_machine
from benchmarks.common.measuring import Section, Size
from benchmarks.common.page import page, summary
from benchmarks.common.processes import ROOT
from benchmarks.kafka import loader as kafka_loader
from benchmarks.kafka import ping as kafka_ping
from benchmarks.kafka import sink as kafka_sink
from benchmarks.kafka import start as kafka_start
from benchmarks.kafka import year as kafka_year

BENCHMARKS: dict[str, Callable[[Bench], Section]] = {
    "loader": loader.run,
    "sink": sink.run,
    "year": year.run,
    "growth": growth.run,
    "ping": ping.run,
    "start": start.run,
    "memory": memory.run,
    "queues": queues.run,
    "arango-sink": arango_sink.run,
    "arango-memory": arango_memory.run,
    "kafka-loader": kafka_loader.run,
    "kafka-sink": kafka_sink.run,
    "kafka-ping": kafka_ping.run,
    "kafka-start": kafka_start.run,
    "kafka-year": kafka_year.run,
    "kubernetes": kubernetes.run,
}
"""Those of Kafka and Kubernetes run the real thing, as `make test-engines` does: they need what that needs."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what `arguments` (or the process's) name; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all of them if none: {', '.join(BENCHMARKS)}")
    parser.add_argument("--quick", action="store_true", help="smaller: to see a change, not to be quoted")
    given = parser.parse_args(arguments)
    names = given.names or list(BENCHMARKS)
    if unknown := sorted(set(names) - BENCHMARKS.keys()):
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    began = time.monotonic()
    machine = this_machine()
    bench = Bench(Size.QUICK if given.quick else Size.FULL)
    sections: list[Section] = []
    failed: list[str] = []
    for name in names:
        bench.begin(name)
        try:
            sections.append(BENCHMARKS[name](bench))
        except Exception:  # the others are still worth their time
            traceback.print_exc()
            failed.append(name)
    whole = not given.quick and not given.names and not failed
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    target = (ROOT / "docs" if whole else build) / "benchmarks.md"
    if sections:
        minutes = (time.monotonic() - began) / 60
        quiet = bench.quiet
        target.write_text(page(machine, sections, minutes=minutes, runs=quiet.runs, disturbed=quiet.disturbed))
        numbers = {"machine": machine, "sections": sections}
        (build / "benchmarks.json").write_bytes(msgspec.json.format(msgspec.json.encode(numbers), indent=2))
        print(summary(sections))
        if quiet.disturbed:
            print(f"{quiet.disturbed} of {quiet.runs} runs were disturbed by other processes", file=sys.stderr)
        print(f"written: {target.relative_to(ROOT)}", file=sys.stderr)
    if failed:
        print(f"could not be run: {', '.join(failed)}", file=sys.stderr)
    missed = [line for section in sections for line in section.lines if line.passed is False]
    for line in missed:
        print(f"missed: {line.what}: {line.value}, the target is {line.target}", file=sys.stderr)
    return 1 if failed or missed else 0


if __name__ == "__main__":
    sys.exit(main())
