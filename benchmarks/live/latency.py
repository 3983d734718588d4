"""How long an event of a stream is on its way to the bus and to the store, and how long a burst is felt."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import msgspec

from benchmarks.common.bench import Bench
from benchmarks.common.fresh import Fresh
from benchmarks.common.measuring import Line, Section, Size, in_turn, median, percentile
from benchmarks.common.stream_server import FIRST_ID, Sent, paced_server
from benchmarks.live.confirmations import Confirmed, make_topics, published, stored, stored_ids, workflow_in

SECONDS = {Size.FULL: 8.0, Size.QUICK: 4.0, Size.TINY: 0.3}
WARM_UP_S = {Size.FULL: 2.0, Size.QUICK: 2.0, Size.TINY: 0.2}
ROUNDS = {Size.FULL: 3, Size.QUICK: 1, Size.TINY: 1}
USUAL, PEAK = 5000, 8260
"""Events a second; the second is the most that 250 streams of the exchange gave."""
BURST = {Size.FULL: 40_000, Size.QUICK: 40_000, Size.TINY: 2000}
AROUND_BURST = 1000
CALM_NS = 100_000_000
"""The lag of a burst is gone once an event is stored within this time."""
LONGEST_BURST_S = 1.1
LIMIT_S = 120.0

Phases = Sequence[tuple[int, float]]


class Ways(msgspec.Struct, frozen=True):
    """Of each event, in order: when it was sent, confirmed by the bus, and stored; nanoseconds.

    kept: how many of those that were sent the store has then. others: what it has besides, twice or never sent.
    """

    sent: list[int]
    on_bus: list[int]
    stored: list[int]
    kept: int = 0
    others: int = 0

    def to_bus_ms(self, first: int) -> list[float]:
        """From being sent to the bus's confirmation, from the event `first` on."""
        return [(bus - sent) / 1e6 for sent, bus in zip(self.sent[first:], self.on_bus[first:], strict=True)]

    def to_stored_ms(self, first: int) -> list[float]:
        """From being sent to the store's answer, from the event `first` on."""
        return [(end - sent) / 1e6 for sent, end in zip(self.sent[first:], self.stored[first:], strict=True)]

    def calm_s(self, end: int) -> float:
        """From when the event `end`, the first behind a burst, was due until one is stored in usual time; seconds."""
        for sent, at in zip(self.sent[end:], self.stored[end:], strict=True):
            if at - sent <= CALM_NS:
                return (at - self.sent[end - 1]) / 1e9
        return (self.stored[-1] - self.sent[end - 1]) / 1e9


def run(bench: Bench) -> Section:
    """Measure it."""
    seconds, warm_up = SECONDS[bench.size], WARM_UP_S[bench.size]
    steady = {rate: ((rate, warm_up), (rate, seconds)) for rate in (USUAL, PEAK)}
    burst = ((AROUND_BURST, warm_up), (BURST[bench.size], 1.0), (AROUND_BURST, 3.0))
    runs = {
        **{f"{rate:,}/s": partial(_ways, bench, phases) for rate, phases in steady.items()},
        "burst": partial(_ways, bench, burst),
    }
    found = in_turn(
        ROUNDS[bench.size],
        {name: partial(bench.undisturbed, call) for name, call in runs.items()},
        lambda name, ways: bench.say(f"{name}: {_told(ways, 0)}"),
    )
    lines: list[Line] = []
    details: list[str] = []
    for rate, to_bus, to_stored in ((USUAL, 10.0, 20.0), (PEAK, None, 50.0)):
        them, first = found[f"{rate:,}/s"], round(rate * warm_up)
        p99 = {
            "bus": [percentile(ways.to_bus_ms(first), 99) for ways in them],
            "stored": [percentile(ways.to_stored_ms(first), 99) for ways in them],
        }
        lines += [
            Line(what=f"{rate:,} events/s: event to {end}, p99", measured=median(p99[end]), unit="ms", below=below)
            for end, below in (("bus", to_bus), ("stored", to_stored))
        ]
        details += [f"{rate:,} events/s: {_told(ways, first)}." for ways in them]
    begin = round(AROUND_BURST * warm_up)
    end = begin + BURST[bench.size]
    calm = [ways.calm_s(end) for ways in found["burst"]]
    what = f"burst of {BURST[bench.size]:,} events in a second"
    lines += [
        Line(
            what=f"{what}: sent within",
            measured=max((ways.sent[end - 1] - ways.sent[begin - 1]) / 1e9 for ways in found["burst"]),
            unit="s",
            below=LONGEST_BURST_S,
        ),
        Line(
            what=f"{what}: in the store, each once",
            measured=min(100 * (ways.kept - ways.others) / len(ways.sent) for ways in found["burst"]),
            unit="%",
            at_least=100,
        ),
        Line(what=f"{what}: lag gone after", measured=median(calm), unit="s", below=2),
    ]
    details.append(f"Burst, the lag gone after: {', '.join(f'{one:.2f} s' for one in calm)}.")
    return Section(
        title="Latency of live trades",
        how=(
            "A server sends trades at a steady rate, every millisecond what is due; loader-ws-trades publishes them on "
            "the embedded bus, arango-trades stores them in the embedded store, each in a process of its own. An event "
            "begins where the server writes it to its socket, and is on the bus, or stored, where that has confirmed "
            "its batch to the worker; all clocks are the machine's. Afterwards all ids are read from the store. "
            f"The first {warm_up:g} s of a run do not count. Burst: {AROUND_BURST:,} events/s before and behind it; "
            f"the lag is gone once an event is stored within {CALM_NS // 10**6} ms again."
        ),
        lines=tuple(lines),
        details=tuple(details),
    )


def _told(ways: Ways, first: int) -> str:
    parts = []
    for name, found in (("bus", ways.to_bus_ms(first)), ("stored", ways.to_stored_ms(first))):
        p50, p99 = (percentile(found, percent) for percent in (50, 99))
        parts.append(f"{name} p50 {p50:.1f} ms, p99 {p99:.1f} ms, at most {max(found):.1f} ms")
    return "; ".join(parts)


def _ways(bench: Bench, phases: Phases) -> Ways:
    records, call = sum(round(rate * seconds) for rate, seconds in phases), Fresh(limit_s=LIMIT_S)
    with bench.folder() as folder:
        asyncio.run(make_topics(workflow_in(folder)))
        sent = folder / "sent.json"
        with paced_server(phases, sent) as url, ThreadPoolExecutor(2) as pool:
            storing = pool.submit(call, stored, str(folder), records)
            publishing = pool.submit(call, published, str(folder), url, records, {})
            confirmed = publishing.result(), storing.result()
        found = msgspec.json.decode(sent.read_bytes(), type=Sent)
        ids, expected = stored_ids(folder), range(FIRST_ID, FIRST_ID + records)
        kept = len(set(ids).intersection(expected))
        sent_at, on_bus, in_store = (_spread(one, records) for one in (found, *confirmed))
        return Ways(sent_at, on_bus, in_store, kept=kept, others=len(ids) - kept)


def _spread(found: Sent | Confirmed, records: int) -> list[int]:
    """Of each of so many records when it was sent or confirmed. Raises RuntimeError if there were more or fewer."""
    if found.counts[-1] != records:
        raise RuntimeError(f"{found.counts[-1]} trades were sent, published or stored, not {records}")
    places = (bisect_left(found.counts, number) for number in range(1, records + 1))
    return [found.at_ns[place] for place in places]
