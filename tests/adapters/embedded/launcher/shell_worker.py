"""A worker's program that runs a shell script, and can be a fork server: `python FILE SCRIPT|--fork-server NUMBER`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from streamforge_utils.adapters.embedded.launcher.fork_server import serve


def run(arguments: Sequence[str]) -> int:
    """Become the shell that runs the script."""
    os.execv("/bin/sh", ["/bin/sh", "-c", arguments[0]])


if __name__ == "__main__":
    sys.exit(serve(int(sys.argv[2]), run) if sys.argv[1] == "--fork-server" else run(sys.argv[1:]))
