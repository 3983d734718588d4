"""Runs a kubelet until SIGTERM: `python -m tests.engines.kubernetes.kubelet PLAN`, a file with its plan as JSON."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from tests.engines.kubernetes.kubelet.kubelet import Kubelet
from tests.engines.kubernetes.kubelet.plan import Plan


async def _serve(plan: Plan) -> None:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await Kubelet(plan).run()


def main() -> int:
    """Run it; 0 after SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    asyncio.run(_serve(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Plan)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
