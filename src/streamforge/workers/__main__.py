"""Runs a worker: `python -m streamforge.workers TARGET [--debug]`; its settings are the environment's."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from streamforge import wiring
from streamforge.workers import definition, targets
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.runtime.ending import EXIT_CONFIG
from streamforge_utils.runtime.process import run_worker

USAGE = f"usage: python -m streamforge.workers TARGET [--debug]\nTARGET: {', '.join(targets())}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the worker that `arguments` (or `STREAMFORGE_TARGET`) name; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    environ = dict(os.environ)
    if "--debug" in given:
        given.remove("--debug")
        environ["STREAMFORGE_DEBUG"] = "true"
    if not given and environ.get("STREAMFORGE_TARGET"):
        given = [environ["STREAMFORGE_TARGET"]]
    if len(given) != 1 or given[0].startswith("-"):
        print(USAGE, file=sys.stderr)
        return EXIT_CONFIG
    try:
        found = definition(given[0])
    except InvalidInput as error:
        print(f"{error}\n{USAGE}", file=sys.stderr)
        return EXIT_CONFIG
    return run_worker(found, wiring, environ, version=version("streamforge"))


if __name__ == "__main__":
    raise SystemExit(main())
