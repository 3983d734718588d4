"""From a ping to its pong through a real broker."""

from __future__ import annotations

from itertools import count

from benchmarks.common.bench import Bench
from benchmarks.common.measuring import Line, Section, percentile
from benchmarks.common.processes import exchange
from benchmarks.kafka.engine import broker
from benchmarks.ping import PINGS, pinged, told
from streamforge_utils.runtime.life.server_settings import KafkaSettings

_NUMBERS = count()
"""Every run has topics of its own: a broker keeps those of the run before."""


def run(bench: Bench) -> Section:
    """Measure it."""
    with exchange() as url:
        with broker(bench) as kafka:
            rest = _pinged(bench, None, kafka)
            busy = _pinged(bench, url, kafka)
        with broker(bench, secured=True) as kafka:
            secured = _pinged(bench, None, kafka)
    lines = {
        "a sink at rest": rest,
        "a sink at full speed": busy,
        "a sink at rest, secured broker": secured,
    }
    return Section(
        title="Kafka: ping to pong",
        how=(
            f"Up to {PINGS[bench.size]} pings as on the embedded bus: from the moment the command is given to the "
            "producer until the pong was read, by a process that is no worker. At full speed: a loader and the sink "
            "bring candles from the test exchange to the store meanwhile; with the broker they share the same cores. "
            "The secured broker speaks TLS and asks for SCRAM-SHA-512."
        ),
        lines=tuple(
            Line(
                what=f"Kafka: ping to pong, p{percent}: {what}",
                measured=1000 * percentile(seconds, percent),
                unit="ms",
                # At full speed more processes want to run than there are cores: what a ping waits is the machine's.
                below=None if what == "a sink at full speed" else limit,
            )
            for what, seconds in lines.items()
            for percent, limit in ((50, 10), (99, 50))
        ),
        details=tuple(f"{what[0].upper()}{what[1:]}: {told(seconds)}." for what, seconds in lines.items()),
    )


def _pinged(bench: Bench, url: str | None, kafka: KafkaSettings) -> list[float]:
    seconds = bench.undisturbed(lambda: pinged(bench, url, kafka, f"p{next(_NUMBERS):05d}"))
    bench.say(told(seconds))
    return seconds
