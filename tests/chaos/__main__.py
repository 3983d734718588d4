"""Disturbs live workflows any number of times: `python -m tests.chaos --kills 1000 --seed 1`, or `--mixtures 100`.

After each 150 kills, or each mixture of faults, all is looked at and begun again, with the next seed. With `--kafka`
the bus is a broker, which is killed too; with `--double` the store is a double of ArangoDB.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests import backends
from tests.chaos.fault_mixture import survive_faults
from tests.chaos.live_killer import survive

EACH = 150


def main() -> int:
    """0: nothing was lost, there twice or stuck; an error says what was, and how to repeat it."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, help=f"how many signals hit ({EACH}, if there are no mixtures)")
    parser.add_argument("--mixtures", type=int, default=0, help="how many mixtures of faults are drawn")
    parser.add_argument("--seed", type=int, default=1, help="of the first schedule")
    parser.add_argument("--kafka", action="store_true", help="on a real broker (Java 17, Maven), which is killed too")
    parser.add_argument("--double", action="store_true", help="on a double of ArangoDB")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # nothing is left running
    kills = args.kills if args.kills is not None else 0 if args.mixtures else EACH
    for number, first in enumerate(range(0, kills, EACH)):
        with _folder() as folder, on_servers(folder, double=args.double):
            print(
                asyncio.run(_kill(folder, min(EACH, kills - first), args.seed + number, kafka=args.kafka)), flush=True
            )
    for seed in range(args.seed, args.seed + args.mixtures):
        with _folder() as folder, on_servers(folder, kafka=args.kafka, double=args.double):
            print(asyncio.run(survive_faults(folder, seed=seed, lengthy=True)), flush=True)
    return 0


async def _kill(folder: Path, kills: int, seed: int, *, kafka: bool) -> str:
    if not kafka:
        return await survive(folder, kills=kills, seed=seed)
    from tests.engines.kafka.chaos.live_broker import survive_on_kafka

    return await survive_on_kafka(folder, kills=kills, seed=seed)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="streamforge-chaos-") as folder:
        yield Path(folder)


@contextmanager
def on_servers(folder: Path, *, kafka: bool = False, double: bool = False) -> Iterator[None]:
    """Until the end of the block managers have a broker, or a double of ArangoDB, of their own."""
    with ExitStack() as stack:
        if kafka:
            from tests.engines.kafka.broker import Broker

            broker = Broker(folder / "broker", secured=True)
            broker.start()
            stack.callback(broker.stop)
            stack.enter_context(backends.on_bus(broker.environment()))
        if double:
            from tests.arango.servers import databases
            from tests.doubles import arangoprocess

            store = stack.enter_context(arangoprocess.running(folder / "double"))
            stack.enter_context(backends.on_store(databases(store)))
        yield


if __name__ == "__main__":
    sys.exit(main())
