"""Where engines are kept once they were fetched: outside the checkout, for every checkout of a machine."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/streamforge`, by default `~/.cache/streamforge`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "streamforge"


@contextmanager
def fetching(folder: Path) -> Iterator[bool]:
    """Whether we are to make `folder`. Of several processes that want it at once one is, and the others wait for it."""
    if folder.is_dir():
        yield False
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield not folder.is_dir()
