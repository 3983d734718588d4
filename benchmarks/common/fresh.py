"""Runs a function in a process of its own, so that no run inherits the memory, caches or garbage of another.

`fresh(function, ...)` starts `python -m benchmarks.common.fresh MODULE:FUNCTION`; arguments and result travel as JSON.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import typing
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import msgspec

from benchmarks.common.processes import ROOT, environment

LIMIT_S = 300.0

P = ParamSpec("P")
T = TypeVar("T")


def fresh(function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """The result of `function` in a new process. It must be a module's function of types that JSON can hold.

    Raises RuntimeError with the last words of a process that failed, or TimeoutExpired.
    """
    process = subprocess.run(
        [sys.executable, "-m", __name__, f"{function.__module__}:{function.__qualname__}"],
        input=msgspec.json.encode([arguments, named]),
        capture_output=True,
        cwd=ROOT,
        env=environment(),
        timeout=LIMIT_S,
        check=False,
    )
    if process.returncode:
        raise RuntimeError(f"{function.__qualname__} failed: {process.stderr.decode(errors='replace')[-2000:]}")
    result: T = msgspec.json.decode(process.stdout, type=typing.get_type_hints(function)["return"])
    return result


def main() -> int:
    """Call what the command line names with the arguments on standard input; its result goes to standard output."""
    module, _, name = sys.argv[1].partition(":")
    positional, named = msgspec.json.decode(sys.stdin.buffer.read())
    result = getattr(importlib.import_module(module), name)(*positional, **named)
    sys.stdout.buffer.write(msgspec.json.encode(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
