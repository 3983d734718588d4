"""Where a benchmark works and how it tells how far it is."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from benchmarks.common.measuring import Size
from benchmarks.common.quiet import Quiet

REPEATS = {Size.FULL: 4, Size.QUICK: 2, Size.TINY: 0}

T = TypeVar("T")


class Bench:
    """The surroundings of a run. size: how much to measure. Folders are new ones, removed after use."""

    def __init__(self, size: Size, *, quiet: bool = False) -> None:
        self.size = size
        self._began = time.monotonic()
        self._quiet = quiet
        self._name = ""
        self.quiet = Quiet(REPEATS[size], self.say)

    def begin(self, name: str) -> None:
        """What is said from now on belongs to this benchmark."""
        self._name = name
        self.say("begins")

    def say(self, text: str) -> None:
        """Tell progress."""
        if not self._quiet:
            elapsed = time.monotonic() - self._began
            print(f"[{elapsed:5.0f} s] {self._name}: {text}", file=sys.stderr, flush=True)

    def undisturbed(self, call: Callable[[], T]) -> T:
        """The result of `call`; it is called again, a few times at most, if other processes disturbed it."""
        return self.quiet.run(call)

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """An empty folder until the end of the block, where `TMPDIR` says."""
        path = Path(tempfile.mkdtemp(prefix="streamforge-bench-"))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
