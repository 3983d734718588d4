"""The end of what a job's process has written, and by what it was killed, as every launcher gives them."""

from __future__ import annotations

import signal
from typing import Final

LOG_BYTES: Final = 64 * 1024
LOG_LINES: Final = 500


def log_end(written: bytes, *, cut: bool = False) -> str:
    """The last whole lines of `written`, at most `LOG_LINES` of at most `LOG_BYTES` in all, without control characters.

    cut: what came before is left out, so that the first line may be the rest of one. A line that is cut is left out:
    who takes secrets out of the text finds no half of one. The last line may lack its end.
    """
    if len(written) > LOG_BYTES:
        written, cut = written[-LOG_BYTES:], True
    if cut:
        written = written.partition(b"\n")[2]
    lines = written.decode(errors="replace").splitlines(keepends=True)[-LOG_LINES:]
    return "".join(c for c in "".join(lines) if c.isprintable() or c in "\n\t")


def last_words(text: str, limit: int) -> str:
    """The end of a log, at most `limit` characters, beginning with a whole line where it was cut."""
    text = "".join(c for c in text if c.isprintable() or c in "\n\t").strip()
    if len(text) <= limit:
        return text
    cut = text[-limit:]
    return cut.partition("\n")[2] or cut


def signal_name(number: int) -> str:
    """The name of a signal, for a reason."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
