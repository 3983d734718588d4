"""Kills processes of live workflows any number of times: `python -m tests.chaos --kills 1000 --seed 1`.

After each 150 kills all is looked at and begun again, with the next seed. With `--kafka` the bus is a broker, which is
killed too.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from pathlib import Path

from tests.chaos.live_killer import survive

EACH = 150


def main() -> int:
    """0: nothing was lost, there twice or stuck; an error says what was, and how to repeat it."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=EACH, help="how many signals hit")
    parser.add_argument("--seed", type=int, default=1, help="of the first schedule")
    parser.add_argument("--kafka", action="store_true", help="on a real broker (Java 17, Maven), which is killed too")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # nothing is left running
    for number, first in enumerate(range(0, args.kills, EACH)):
        kills, seed = min(EACH, args.kills - first), args.seed + number
        with tempfile.TemporaryDirectory(prefix="streamforge-chaos-") as folder:
            if args.kafka:
                from tests.engines.kafka.chaos.live_broker import survive_on_kafka

                told = asyncio.run(survive_on_kafka(Path(folder), kills=kills, seed=seed))
            else:
                told = asyncio.run(survive(Path(folder), kills=kills, seed=seed))
        print(told, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
