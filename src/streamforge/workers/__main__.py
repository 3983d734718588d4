"""Runs a worker: `python -m streamforge.workers TARGET [--debug] [--PARAMETER VALUE …]`.

It reads its settings from environment variables. Every parameter of a target can be given as an option too, which takes
precedence.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from streamforge import wiring
from streamforge.version import installed_version
from streamforge.workers import definition, targets
from streamforge_utils.model.errors import ConfigError, InvalidInput
from streamforge_utils.model.kinds.registry import kinds
from streamforge_utils.plugins import load_plugins
from streamforge_utils.ports.basket_members import BASKET
from streamforge_utils.runtime.life.termination import EXIT_CONFIG
from streamforge_utils.runtime.life.worker_definition import Use, environment_of, help_text
from streamforge_utils.runtime.life.worker_process import load_worker, run_worker

USAGE = (
    "usage: python -m streamforge.workers TARGET [--debug] [--PARAMETER VALUE ...]\n"
    "TARGET: {targets}; TARGET --help tells its parameters"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the worker that `arguments` (or `STREAMFORGE_TARGET`) name; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == [wiring.FORK_SERVER] and len(given) == 2:
        return _fork_server(int(given[1]))
    environ = dict(os.environ)
    if environ.get("STREAMFORGE_TARGET") and (not given or given[0].startswith("--")):
        given.insert(0, environ["STREAMFORGE_TARGET"])
    try:
        load_plugins(environ)
        if not given or given[0].startswith("-"):
            raise InvalidInput("target", "no target is named")
        found = definition(given[0])
        if "--help" in given or "-h" in given:
            print(help_text(found, f"python -m streamforge.workers {found.target} [OPTIONS]"))
            return 0
        environ.update(environment_of(found, given[1:]))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    except InvalidInput as error:
        print(f"{error}\n{USAGE.format(targets=', '.join(targets()))}", file=sys.stderr)
        return EXIT_CONFIG
    if environ.get(BASKET) and Use.STREAM in found.uses:
        from streamforge_utils.runtime.live.basket_process import run_basket

        return run_basket(found, wiring, environ, version=installed_version())
    return run_worker(found, wiring, environ, version=installed_version())


def _fork_server(descriptor: int) -> int:
    """Fork workers for a launcher."""
    from streamforge_utils.runtime.live import basket_process  # noqa: F401 - it is imported before anything is forked

    kinds()
    # What is found out here is known to each worker.
    installed_version()
    for target in targets():
        with suppress(ConfigError):
            load_worker(definition(target), {})
    return wiring.serve_forks(descriptor, main)


if __name__ == "__main__":
    raise SystemExit(main())
