"""Repeats what was measured while other processes used the machine: a number taken then says little."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

FOREIGN = 0.12
"""How many cores' time others may use during a run that counts."""

WAIT_S = 20.0
"""How long a run waits for a quiet moment before it begins all the same."""

_LOOK_S = 0.3
_STAT = Path("/proc/stat")
_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Become the parent of what the processes of this one leave behind: a fork server outlives its manager.

    Else its time, and that of the workers it has forked, would be others'.
    """
    with suppress(OSError, AttributeError):  # Linux alone has it
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Quiet:
    """Runs what is measured, and again if others disturbed it, at most `repeats` times.

    runs, disturbed: how many results were handed out, and how many of them had to be taken although disturbed.
    Where the system does not tell who used its processors (`/proc`), nothing counts as disturbed.
    """

    def __init__(self, repeats: int, say: Callable[[str], None]) -> None:
        self._repeats = repeats
        self._say = say
        self.runs = 0
        self.disturbed = 0

    def run(self, call: Callable[[], T]) -> T:
        """The result of an undisturbed call, or of the last one."""
        self.runs += 1
        left = self._repeats
        while True:
            if self._repeats:
                _wait_for_quiet()
            watch = Watch()
            result = call()
            foreign = watch.foreign()
            if foreign <= FOREIGN:
                return result
            if not left:
                self.disturbed += 1
                return result
            left -= 1
            self._say(f"repeated: other processes used {foreign:.2f} cores meanwhile")


class Watch:
    """How much of the processors others use from now on."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._before = _others()

    def foreign(self) -> float:
        """Mean number of cores since then that processes used which are neither this one nor descend from it."""
        return max(0.0, (_others() - self._before) / max(1e-3, time.monotonic() - self._began))


def _wait_for_quiet() -> None:
    give_up = time.monotonic() + WAIT_S
    while time.monotonic() < give_up:
        watch = Watch()
        time.sleep(_LOOK_S)
        if watch.foreign() <= FOREIGN:
            return


def _others() -> float:
    """Seconds of processor time that others used since the machine started; 0 where nobody tells."""
    try:
        fields = [int(text) for text in _STAT.read_text().split("\n", 1)[0].split()[1:]]
        own = _own_ticks()
    except OSError:
        return 0.0
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields[:8]
    return (user + nice + system + irq + softirq + steal - own) / os.sysconf("SC_CLK_TCK")


def _own_ticks() -> int:
    """Of this process and all that descend from it, those that have ended and were waited for included."""
    children: dict[int, list[int]] = {}
    used: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            # The name of the command, in parentheses, may hold anything.
            fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        pid = int(folder.name)
        children.setdefault(int(fields[1]), []).append(pid)
        used[pid] = sum(map(int, fields[11:15]))
    total, left = 0, [os.getpid()]
    while left:
        pid = left.pop()
        total += used.get(pid, 0)
        left += children.get(pid, [])
    return total
