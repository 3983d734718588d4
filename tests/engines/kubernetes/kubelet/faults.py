"""Faults that a test asks for by annotations, so that `kubectl annotate` does it too.

On a pod that runs, `FAULT`: `OOMKilled` (killed for its memory), `Evicted` (by a node without memory), `Exit:N` (the
process is killed and said to have ended with N). On a node, `LOST` with any value: it does not answer any more, and its
pods go on; without it the node is back.
"""

from __future__ import annotations

from typing import Any

FAULT = "test.streamforge.io/fault"
LOST = "test.streamforge.io/lost"
OOM_KILLED = "OOMKilled"
EVICTED = "Evicted"


def ending(code: int) -> str:
    """The fault that ends a container with `code`."""
    return f"Exit:{code}"


def code_of(fault: str) -> int | None:
    """The exit code that a fault asks for, or None if it is of another kind."""
    word, _, number = fault.partition(":")
    return int(number) if word == "Exit" and number.isdigit() else None


def annotation(thing: dict[str, Any], name: str) -> str:
    """An annotation of an object, empty without it."""
    return str(thing["metadata"].get("annotations", {}).get(name, ""))
