"""Runs a command for as long as the process lives that started us: `python -m tests.engines.keeper COMMAND…`.

Our stdin is a pipe whose other end the owner holds. However the owner ends, SIGKILL included, the pipe closes, and the
command is killed. The command's process id is the first line of our stdout; its exit code becomes ours.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading


def main() -> int:
    """Run the command; 128 + N if signal N ended it."""
    # The owner ends us through the pipe; Ctrl-C on its terminal is the owner's business.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, restore_signals=True)
    print(child.pid, flush=True)

    def watch() -> None:
        while os.read(0, 1024):
            pass
        child.kill()

    threading.Thread(target=watch, daemon=True).start()
    code = child.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
