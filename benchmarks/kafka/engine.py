"""The real broker that the tests run, for a benchmark."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.common.bench import Bench
from streamforge_utils.runtime.life.environment import load
from streamforge_utils.runtime.life.server_settings import KafkaSettings
from tests.engines.kafka.broker import Broker


@contextmanager
def broker(bench: Bench, *, secured: bool = False) -> Iterator[KafkaSettings]:
    """How a new broker is reached, until the end of the block. Raises EngineError if it does not start.

    secured: with TLS, SCRAM-SHA-512 and ACLs, as in a cluster; the user may do everything.
    """
    with bench.folder() as folder:
        found = Broker(folder, secured=secured, optimized=True)
        began = time.perf_counter()
        found.start()
        try:
            bench.say(f"a {'secured' if secured else 'plain'} broker started in {time.perf_counter() - began:.1f} s")
            yield load(KafkaSettings, found.environment())
        finally:
            found.stop()
