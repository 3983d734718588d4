"""Counts SIGINT and SIGTERM: the first stops in order, the second leaves at once."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """The signals that came. happened: set by each signal, cleared by the reader.

    exits: the process may be ended where what was interrupted takes too long to close.
    """

    def __init__(self, *, exits: bool = True) -> None:
        self.exits = exits
        self.count = 0
        self.signal = signal.SIGINT
        self.happened = asyncio.Event()

    def add(self, number: signal.Signals = signal.SIGINT) -> None:
        """Count one."""
        self.count += 1
        self.signal = number
        self.happened.set()

    @property
    def exit_code(self) -> int:
        """128 + the signal's number: 130 for Ctrl-C."""
        return 128 + self.signal


@contextlib.contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Count SIGINT and SIGTERM inside the block instead of ending the process."""
    found = Interrupts()
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        loop.add_signal_handler(number, found.add, number)
    try:
        yield found
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])
