"""Which bus the managers of the tests use, and their workers with them: the embedded one unless another is named.

Tests that start whole processes say nothing of the bus, so that the same ones run on a real engine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests import storeenv

_chosen: dict[str, str] = {}


@contextmanager
def instead(environment: Mapping[str, str]) -> Iterator[None]:
    """Until the end of the block managers are started with `environment`, which names a bus of many."""
    before = dict(_chosen)
    _chosen.clear()
    _chosen.update(environment)
    try:
        yield
    finally:
        _chosen.clear()
        _chosen.update(before)


def embedded() -> bool:
    """Whether the bus lies in the data directory."""
    return not _chosen


def patience(seconds: float) -> float:
    """How long to wait, on this bus and this store, for what is to be there within `seconds` on the embedded ones."""
    return seconds if embedded() and storeenv.embedded() else 2 * seconds


def environment(data: Path) -> dict[str, str]:
    """What a manager on `data` is started with. On a bus of many each has topics of commands and events of its own."""
    if embedded():
        return {}
    code = hashlib.sha256(str(data.absolute()).encode()).hexdigest()[:10]
    return {**_chosen, "QUEUE_CONTROL_TOPIC": f"control-{code}", "QUEUE_EVENTS_TOPIC": f"events-{code}"}


def control_topic(data: Path) -> str:
    """The topic of commands of the manager on `data`."""
    return environment(data).get("QUEUE_CONTROL_TOPIC", "queue-control")


def events_topic(data: Path) -> str:
    """The topic of events of the manager on `data`."""
    return environment(data).get("QUEUE_EVENTS_TOPIC", "queue-events")
