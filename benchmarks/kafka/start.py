"""How soon a worker's process speaks through a real broker."""

from __future__ import annotations

from functools import partial

from benchmarks.common.bench import Bench
from benchmarks.common.measuring import Line, Section, median
from benchmarks.common.processes import exchange
from benchmarks.kafka.engine import broker
from benchmarks.start import STARTS, Spoken, measured


def run(bench: Bench) -> Section:
    """Measure it."""
    found: dict[str, tuple[list[Spoken], list[Spoken]]] = {}
    with exchange() as url:
        for kind in ("plain", "secured"):
            with broker(bench, secured=kind == "secured") as kafka:
                found[kind] = bench.undisturbed(partial(measured, bench, url, kafka))
    return Section(
        title="Kafka: start",
        how=(
            "From the start of the worker's process until its `started` event is read from the broker by another "
            f"process. Median of {STARTS[bench.size]}, in turn, on a plain broker and on one with TLS, SCRAM-SHA-512 "
            "and ACLs. Bytecode is cached, as it is in an image."
        ),
        lines=tuple(
            Line(
                what=f"Kafka: {target}, process to `started`, {kind} broker",
                measured=median([spoken.started for spoken in them]),
                unit="s",
                below=1.0,
            )
            for kind, (sinks, loaders) in found.items()
            for target, them in (("sink", sinks), ("loader", loaders))
        ),
        details=tuple(
            f"Slowest, {kind}: sink {max(s.started for s in sinks):.2f} s, "
            f"loader {max(s.started for s in loaders):.2f} s."
            for kind, (sinks, loaders) in found.items()
        ),
    )
