"""The test exchange as a process: `python -m streamforge.exchange --port 0 --seed 1`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from streamforge.exchange.config import WEIGHT_LIMIT, ExchangeConfig, instant_ms, parse_hole
from streamforge.exchange.faults import FAULTS
from streamforge.exchange.server import run
from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.plugins import load_plugins


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m streamforge.exchange", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same candles")
    parser.add_argument("--replay", type=Path, help="serve the recordings of this folder")
    parser.add_argument("--now", type=instant_ms, help="where its clock starts, ISO 8601, UTC")
    parser.add_argument(
        "--fault", action="append", default=[], help=f"NAME[:key=value,...]; one of {', '.join(FAULTS)}"
    )
    parser.add_argument(
        "--hole", action="append", default=[], type=parse_hole, help="downtime: SYMBOL@START:END, * for all symbols"
    )
    limits = parser.add_mutually_exclusive_group()
    limits.add_argument("--weight-limit", type=int, default=WEIGHT_LIMIT, help="request weight a minute and address")
    limits.add_argument("--no-limits", action="store_true", help="never answer 429 or 418 for spent weight")
    parser.add_argument("--json", action="store_true", help="print the line as JSON")
    return parser


def main() -> int:
    """Run it. Returns the exit code: 2 for what cannot be served."""
    try:
        load_plugins(os.environ)
        given = _arguments().parse_args()
    except StreamForgeError as error:
        sys.stderr.write(f"test exchange: {error}\n")
        return 2
    holes: dict[str, tuple[TimeRange, ...]] = {}
    for symbol, span in given.hole:
        holes[symbol] = (*holes.get(symbol, ()), span)
    config = ExchangeConfig(
        port=given.port,
        seed=given.seed,
        replay=given.replay,
        now_ms=given.now,
        holes=holes,
        faults=tuple(given.fault),
        weight_limit=None if given.no_limits else given.weight_limit,
    )
    try:
        return run(config, json_line=given.json)
    except (StreamForgeError, OSError) as error:
        sys.stderr.write(f"test exchange: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
