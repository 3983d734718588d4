"""The shell that stands between a launcher and a worker, so that exit codes survive the death of the launcher."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from streamforge_utils.model.errors import ConfigError, RetryableError

# `started` comes before the worker: a job of which nobody can say whether it ran is never run again.
# Trapped, not ignored: the shell must live on to see the worker end, but the worker must not inherit deafness. And only
# then: in a child between fork and exec the trap would swallow a signal that is meant for the worker.
# A trap ends `wait` early, with a status above 128: wait again while the worker lives. No file is written in two steps,
# because all are read under the lock, or count only with the end of their line. On a full disk nothing is started.
SCRIPT: Final = """\
folder=$1
shift
echo "$$" >"$folder/started" || { rm -f "$folder/started"; exit 1; }
"$@" </dev/null &
worker=$!
trap : TERM INT HUP QUIT
exec 2>/dev/null
echo "$worker" >"$folder/pid" || kill "$worker"
wait "$worker"
status=$?
while [ "$status" -gt 128 ] && kill -0 "$worker" 2>/dev/null; do
    wait "$worker"
    status=$?
done
echo "$status" >"$folder/exit"
"""


def spawn(folder: Path, argv: Sequence[str], environment: Mapping[str, str], *, lock: int, log: int) -> int:
    """Start the shim, in a session of its own, and it the worker; returns the shim's process id, ours to reap.

    lock: a descriptor that both inherit. log: becomes their output. Raises ConfigError or RetryableError.
    """
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", SCRIPT, "streamforge-job", str(folder), *argv],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(lock,),
            start_new_session=True,
        )
    except ValueError as error:  # a NUL in an argument or a variable
        raise ConfigError(f"job {folder.name} cannot be started: its command or environment holds a NUL") from error
    except (FileNotFoundError, PermissionError) as error:
        raise ConfigError(f"job {folder.name} cannot be started: /bin/sh: {error.strerror}") from error
    except OSError as error:
        if error.errno == errno.E2BIG:
            raise ConfigError(f"job {folder.name} cannot be started: its environment is too large") from error
        raise RetryableError(f"job {folder.name} was not started: {error.strerror}; try again") from error
    # The job may outlive this process, so nobody waits for this object: it is told that it has ended.
    process.returncode = 0
    return process.pid


def reap(pid: int) -> bool:
    """Whether the child has ended; takes its zombie away."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True
