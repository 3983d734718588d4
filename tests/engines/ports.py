"""Loopback ports for servers that keep theirs over a restart."""

from __future__ import annotations

import random
import socket

from tests.engines.errors import EngineError

# Below what Linux and macOS hand out by themselves: nobody's outgoing connection takes a port while its server is down.
_RANGE = range(20_000, 30_000)
_GIVEN: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Ports on which nobody listens now and that this process has not been given before."""
    found = list[int]()
    # Other test processes look for ports at the same time: a common seed would have them meet.
    chooser = random.SystemRandom()
    for port in chooser.sample(_RANGE, 2_000):
        if port in _GIVEN or not _is_free(port):
            continue
        _GIVEN.add(port)
        found.append(port)
        if len(found) == count:
            return found
    raise EngineError(f"there are no {count} free ports on loopback between {_RANGE.start} and {_RANGE.stop}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
