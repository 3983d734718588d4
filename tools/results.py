"""Writes docs/reference/results.md: graphs and models on real candles, by the commands that users have.

Takes the daily candles of `--universe`, a Parquet file of symbol, d (unix ms), open, high, low, close, volume; serves
them with the test exchange's replay, loads them as one batch, builds a graph on them, and runs the ladder of models.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

import streamforge

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "docs" / "reference" / "results.md"
TYPE = "api_candles_1d"
DAY_MS = 86_400_000
STEPS_MS = {"1d": DAY_MS, "1h": DAY_MS // 24}
GRAPH = "universe"
SNAPSHOTS = "2021-10:2023-12-31"
GRAPH_OPTIONS = ("--window", "90", "--step", "1", "--top-k", "10")
MODEL = "universe"
MODEL_OPTIONS = (
    *GRAPH_OPTIONS,
    *(
        f"--feature={name}"
        for name in ("return_1", "return_7", "return_30", "volatility_7", "volatility_30", "volume_7")
    ),
    *("--horizon", "1", "--least-train", "180", "--test", "91"),
)
COMMAND = [sys.executable, "-m", "streamforge.cli"]
PRICES = ("open", "high", "low", "close", "volume")
NUMBERS = "%d" + ",%.8f" * 5 + ",%d,%.8f,0,0,0,0\n"


class Universe(NamedTuple):
    """Candles of a file. interval: as the exchange spells it. bars: by symbol its columns, ascending by t (unix ms)."""

    sha256: str
    interval: str
    bars: Mapping[str, Mapping[str, np.ndarray[Any, np.dtype[Any]]]]

    @property
    def type(self) -> str:
        """As commands take it."""
        return f"api_candles_{self.interval}"

    @property
    def step_ms(self) -> int:
        """From one bar to the next."""
        return STEPS_MS[self.interval]

    @property
    def rows(self) -> int:
        """Of all symbols."""
        return sum(len(one["t"]) for one in self.bars.values())

    @property
    def span(self) -> str:
        """From the first bar to the day after the last, as commands take it."""
        first = min(int(one["t"][0]) for one in self.bars.values())
        return f"{_day(first)}:{_day(self.last_ms + DAY_MS)}"

    @property
    def last_ms(self) -> int:
        """When the last bar of all opens."""
        return max(int(one["t"][-1]) for one in self.bars.values())


def _day(time_ms: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(time_ms / 1000))


def read_universe(path: Path, interval: str, most: int | None) -> Universe:
    """most: so many symbols, the first by name."""
    table = pq.read_table(path)
    table = table.rename_columns(["t" if name == "d" else name for name in table.column_names])
    bars = {}
    for symbol in sorted(pc.unique(table["symbol"]).to_pylist())[:most]:
        own = table.filter(pc.equal(table["symbol"], symbol)).sort_by("t")
        bars[symbol] = {name: own[name].to_numpy() for name in ("t", *PRICES)}
    return Universe(hashlib.sha256(path.read_bytes()).hexdigest(), interval, bars)


def write_recordings(universe: Universe, folder: Path) -> None:
    """As the exchange's archive writes candles. Quote volume is close times volume, what else lacks is 0."""
    folder.mkdir(exist_ok=True)
    for symbol, bars in universe.bars.items():
        with (folder / f"{symbol}-{universe.interval}-universe.csv").open("w") as file:
            for t, *prices in zip(*(bars[name].tolist() for name in ("t", *PRICES)), strict=True):
                file.write(NUMBERS % (t, *prices, t + universe.step_ms - 1, prices[3] * prices[4]))


@contextmanager
def served(arguments: Sequence[str]) -> Iterator[str]:
    """A command that serves until it is ended; gives its URL."""
    with subprocess.Popen([*COMMAND, *arguments, "--json"], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None  # noqa: S101 - a pipe was asked for
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"results: {arguments[0]} did not start: see what it printed above")
            yield msgspec.json.decode(line)["url"]
        finally:
            process.terminate()


def run(*arguments: str) -> Any:
    """What a command prints with --json, the last object of it."""
    print("results: streamforge", *arguments, file=sys.stderr, flush=True)
    found = subprocess.run([*COMMAND, *arguments, "--json"], stdout=subprocess.PIPE, check=False)
    if found.returncode:
        raise SystemExit(f"results: streamforge {arguments[0]} ended with {found.returncode}: see its output above")
    return msgspec.json.decode(found.stdout)


def load(universe: Universe, symbols: str, url: str) -> list[str]:
    """Load all of it as one batch; lines about it. Ends the program where what is stored differs from the file."""
    batch = run("load", symbols, universe.type, universe.span, "--server", url)
    wrong, absent, ended = list[str](), 0, 0
    for symbol, bars in universe.bars.items():
        series = streamforge.read(symbol, universe.type, universe.span, frame="arrow", server=url)
        frame, first_ms, end_ms = series.frame, int(bars["t"][0]), int(bars["t"][-1]) + universe.step_ms
        same = pc.cast(frame["open_time"], "int64").to_pylist() == bars["t"].tolist() and all(
            frame[name].to_pylist() == [float(f"{value:.8f}") for value in bars[name].tolist()] for name in PRICES
        )
        lacking = sum(
            max(0, min(hole.end_ms, end_ms) - max(hole.start_ms, first_ms))
            for hole in series.holes
            if hole.verdict == "exchange"
        )
        if not same or not series.complete or lacking != end_ms - first_ms - universe.step_ms * len(frame):
            wrong.append(symbol)
        absent += lacking // universe.step_ms
        ended += end_ms - universe.step_ms < universe.last_ms - DAY_MS
    if wrong or batch["records_stored"] != universe.rows:
        stored = f"{batch['records_stored']} of {universe.rows} rows are stored"
        raise SystemExit(f"results: {stored}; different or incomplete: {', '.join(wrong) or 'none'}")
    return wrapped(
        f"`streamforge load @symbols.txt {universe.type} {universe.span}` (SHA-256 of the file "
        f"`{universe.sha256}`): {batch['counts']['finished']} of {batch['size']} pairs proven in one batch, "
        f"{batch['records_stored']:,} candles stored, each equal to the row of the file. {absent:,} bars lack within "
        f"the life of a pair; each has the verdict `exchange`, as the exchange was asked and has none. {ended} pairs "
        "end more than a day before the last bar; they are part of all that follows for as long as they lived."
    )


def build_graph(symbols: str, url: str) -> list[str]:
    """Lines about the graph of the universe."""
    run("graph", "build", GRAPH, symbols, TYPE, SNAPSHOTS, *GRAPH_OPTIONS, "--server", url)
    found = run("graph", "show", GRAPH, "--server", url)
    snapshots = run("graph", "metrics", GRAPH, "--limit", "100000", "--server", url)["snapshots"]
    months = dict[str, list[Mapping[str, Any]]]()
    for one in snapshots:
        months.setdefault(one["at"][:7], []).append(one)
    rows = []
    for month, own in months.items():
        coins, edges, turnover = (np.mean([one[name] or 0.0 for one in own]) for name in ("coins", "edges", "turnover"))
        trees = [one["tree_length"] for one in own if one["tree_length"] is not None]
        length = f"{np.mean(trees):.1f}" if trees else "none"
        rows.append(f"| {month} | {coins:.0f} | {edges:.0f} | {length} | {100 * turnover:.1f} % |")
    return [
        *wrapped(
            f"`streamforge graph build {GRAPH} @symbols.txt {TYPE} {SNAPSHOTS} {' '.join(GRAPH_OPTIONS)}`: "
            f"{found['snapshots']:,} snapshots, {found['edges']:,} edges, SHA-256 `{found['sha256']}`."
        ),
        "",
        *wrapped(
            "Means of a month; tree: the length of the shortest tree that spans the coins which have enough returns in "
            "common with others (short: they move as one)."
        ),
        "",
        "| month | coins | edges | tree | edges that change in a day |",
        "|---|---:|---:|---:|---:|",
        *rows,
    ]


def train(symbols: str, url: str, model: str) -> list[str]:
    """The card of the ladder on the universe. model: of the kinds of `models train`."""
    options = (*MODEL_OPTIONS, "--model", model)
    run("models", "train", MODEL, symbols, TYPE, SNAPSHOTS, *options, "--server", url)
    card = subprocess.run([*COMMAND, "models", "card", MODEL, "--server", url], stdout=subprocess.PIPE, check=True)
    text = card.stdout.decode().replace("\n## ", "\n### ").replace("# ", "### ", 1)
    return [
        *wrapped(f"`streamforge models train {MODEL} @symbols.txt {TYPE} {SNAPSHOTS} {' '.join(options)}`:"),
        "",
        text,
    ]


def wrapped(text: str) -> list[str]:
    """Lines of at most 120 characters."""
    return textwrap.wrap(text, 120, break_long_words=False, break_on_hyphens=False)


def main(arguments: list[str] | None = None) -> int:
    """Run it; 0 only if all was stored as it is in the file, and the page is written."""
    parser = argparse.ArgumentParser(prog="python -m tools.results", description=__doc__)
    parser.add_argument("--universe", type=Path, required=True)
    parser.add_argument("--hours", type=Path, help="the same of hours, t instead of d: loaded alone")
    parser.add_argument("--symbols", type=int, help="so many alone, the first by name: to try it")
    parser.add_argument("--model", default="gat", help="as `streamforge models train` takes it")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args(arguments)
    days = read_universe(given.universe, "1d", given.symbols)
    hours = None if given.hours is None else read_universe(given.hours, "1h", given.symbols)
    with tempfile.TemporaryDirectory(prefix="results-") as name:
        folder = Path(name)
        lists = {}
        for one in (days, hours):
            if one is not None:
                write_recordings(one, folder / "recordings")
                lists[one.interval] = folder / f"symbols-{one.interval}.txt"
                lists[one.interval].write_text("\n".join(one.bars) + "\n")
        symbols = f"@{lists['1d']}"
        exchange = ["exchange", "--replay", str(folder / "recordings"), "--no-limits", "--now", "2024-01-01"]
        with (
            served(exchange) as source,
            served(["up", "--port", "0", "--exchange", source, "--data", str(folder / "data")]) as url,
        ):
            candles = load(days, symbols, url)
            candles += [] if hours is None else ["", *load(hours, f"@{lists['1h']}", url)]
            graph = build_graph(symbols, url)
            card = train(symbols, url, given.model)
    files = " ".join(
        f"--{option} {path.name}" for option, path in (("universe", given.universe), ("hours", given.hours)) if path
    )
    lines = [
        "# Results on real candles",
        "",
        *wrapped(
            f"Written by `python -m tools.results {files}`; not to be edited. Data and settings decide every number."
        ),
        "",
        "## Candles",
        "",
        *candles,
        "",
        "The files have no quote volume: that is close times volume here.",
        "",
        "## Graph",
        "",
        *graph,
        "",
        "## Models",
        "",
        *card,
    ]
    given.output.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    print(f"results: {given.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
