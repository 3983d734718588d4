"""The process of a test exchange that a command owns, see `exchange_process`."""

from __future__ import annotations

import os
import signal
import sys
import threading

from streamforge.cli.main import main as run


def main() -> int:
    """Serve as `streamforge exchange --json` does, until the owner has gone."""
    _end_with_owner()
    sys.argv = [sys.argv[0], "exchange", "--json", *sys.argv[1:]]
    return run()


def _end_with_owner() -> None:
    """Turn the end of standard input into a SIGTERM to this process."""

    def watch() -> None:
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="owner", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
