"""Shortens the reason of a failure to one line."""

from __future__ import annotations

import msgspec

_LAST_WORDS, _KILLED = "; it last wrote:\n", "killed"
"""How a launcher tells what a worker logged last, and that it was killed."""


def short(reason: str) -> str:
    """A reason on one line: where it has several, the first and the last of them.

    Of the log lines of a worker that failed, the last one follows in words; those of one that was killed tell nothing.
    """
    what, logged, words = reason.partition(_LAST_WORDS)
    if logged:
        if _KILLED in what:
            return short(what)
        reason = "\n".join((what, *(_in_words(line) for line in words.splitlines())))
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    return reason if len(lines) < 2 else f"{lines[0].rstrip(':')}: … {lines[-1]}"


def _in_words(line: str) -> str:
    """The message and the error of a JSON log line."""
    try:
        told = msgspec.json.decode(line, type=dict[str, object])
    except msgspec.MsgspecError:
        return line
    words = [str(told[name]).strip().splitlines() for name in ("event", "error", "exception") if told.get(name)]
    return ": ".join(lines[-1].strip() for lines in words if lines) or line
