"""The environment that tests and benchmarks start processes with: the shell's, without any setting of StreamForge.

A reader of docs/how-to/arangodb.md has a real database there, and no test may write into one that it was not given.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # benchmarks measure processes that have read this
    import pytest

PREFIXES = (
    *("STREAMFORGE_", "KAFKA_", "QUEUE_", "ARANGO_", "BINANCE_"),
    *("K8S_", "KUBECONFIG", "KUBERNETES_"),  # the last one is what a pod has; without it nobody is in one
)
NAMES = frozenset(
    {
        *("CA_PATH", "SYMBOL", "TYPE", "TIME_RANGE", "INTERVAL", "COLLECTION_NAME", "TELEMETRY_PRODUCER_ID"),
        *("LIMIT", "DEBUG", "COLUMNS", "NO_COLOR"),
    }
)
"""Settings without such a prefix."""


def is_ours(name: str) -> bool:
    """Whether a program of StreamForge would read the variable."""
    return name.startswith(PREFIXES) or name in NAMES


def environment(**more: str) -> dict[str, str]:
    """This process's environment without what would configure StreamForge by accident, and with `more`."""
    return {name: value for name, value in os.environ.items() if not is_ours(name)} | more


def clean(monkeypatch: pytest.MonkeyPatch, *kept: str) -> None:
    """The same for programs that a test runs in this process; `kept` are variables that it reads itself."""
    for name in filter(is_ours, list(os.environ)):
        if name not in kept:
            monkeypatch.delenv(name)
