"""How much memory a sink on ArangoDB takes at full speed, and whether it grows."""

from __future__ import annotations

from benchmarks.arango.servers import responder
from benchmarks.common.bench import Bench
from benchmarks.common.measuring import Line, Section
from benchmarks.common.processes import exchange
from benchmarks.common.workflow import SINK
from benchmarks.memory import CANDLES, FLAT_MB, at_full_speed, growth_of


def run(bench: Bench) -> Section:
    """Measure it."""
    candles = CANDLES[bench.size]
    with bench.folder() as folder, exchange() as url, responder() as server:
        samples = at_full_speed(folder, url, candles, server.settings)[SINK]
    most, growth = max(mb for _, mb, _ in samples), growth_of(samples, candles)
    bench.say(f"{SINK} {most:.0f} MB, {growth:+.2f} MB per million")
    return Section(
        title="ArangoDB: memory",
        how=(
            f"Resident memory of the sink's process, in 10⁶ bytes, read every 50 ms, while it brings {candles:,} "
            "candles of a loader beside it to a server that does nothing. Growth: as in "
            "the section Memory."
        ),
        lines=(
            Line(what="ArangoDB: sink: most memory at full speed", measured=most, unit="MB", below=120),
            Line(what="ArangoDB: sink: growth per million records", measured=growth, unit="MB", below=FLAT_MB),
        ),
    )
