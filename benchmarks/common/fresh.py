"""Runs a function in a process of its own, so that no run inherits the memory, caches or garbage of another.

`fresh(function, ...)` starts `python -m benchmarks.common.fresh MODULE:FUNCTION`; arguments and result travel as JSON.
"""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import msgspec

from benchmarks.common.processes import ROOT
from tests.cleanenv import environment

LIMIT_S = 300.0

P = ParamSpec("P")
T = TypeVar("T")


class Fresh:
    """Calls functions in new processes. python, pythonpath: of another environment than this process's own.

    limit_s: how long a call may take.
    """

    def __init__(
        self, python: str | Path = sys.executable, pythonpath: str | None = None, *, limit_s: float = LIMIT_S
    ) -> None:
        self._limit_s = limit_s
        self._python = str(python)
        self._environment = {} if pythonpath is None else {"PYTHONPATH": pythonpath}

    def by(self, python: str | Path, pythonpath: str) -> Fresh:
        """The same in another environment."""
        return Fresh(python, pythonpath)

    def __call__(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """The result of `function` in a new process. It must be a module's function of types that JSON can hold.

        Raises RuntimeError with the last words of a process that failed, or TimeoutExpired.
        """
        process = subprocess.run(
            [self._python, "-m", __name__, f"{function.__module__}:{function.__qualname__}"],
            input=msgspec.json.encode([arguments, named]),
            capture_output=True,
            cwd=ROOT,
            env=environment(**self._environment),
            timeout=self._limit_s,
            check=False,
        )
        if process.returncode:
            raise RuntimeError(f"{function.__qualname__} failed: {process.stderr.decode(errors='replace')[-2000:]}")
        result: T = msgspec.json.decode(process.stdout, type=typing.get_type_hints(function)["return"])
        return result


fresh = Fresh()


def main() -> int:
    """Call what the command line names with the arguments on standard input; its result goes to standard output."""
    answer = os.dup(1)
    os.dup2(2, 1)  # what a function and its children print is no part of the result
    module, _, name = sys.argv[1].partition(":")
    positional, named = msgspec.json.decode(sys.stdin.buffer.read())
    function = getattr(importlib.import_module(module), name)
    hints = typing.get_type_hints(function)
    given = inspect.signature(function).bind(*positional, **named).arguments
    result = function(**{key: msgspec.convert(value, hints[key]) for key, value in given.items()})
    with os.fdopen(answer, "wb") as output:
        output.write(msgspec.json.encode(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
