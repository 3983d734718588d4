"""Tables, messages and numbers for people; without colours where the output is no terminal."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from streamforge_utils.model.timeranges import format_ms, is_relative

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

PROGRAM = "streamforge"
_COLOURS = {
    "green": ("finished", "stored", "works", "complete", "TRADING"),
    "cyan": ("running", "pending", "waiting", "new"),
    "yellow": ("stopping", "interrupted", "exchange", "closed", "lost", "expired", "careful"),
    "red": ("error", "ours", "unknown", "fails"),
}
STATUS_STYLES = {word: colour for colour, words in _COLOURS.items() for word in words}
VERDICTS = {
    "stored": "every record is there",
    "exchange": "asked twice: the exchange has none",
    "closed": "before listing or after delisting",
    "pending": "not over yet",
    "lost": "it happened while no loader listened, and cannot be loaded later",
    "expired": "removed by retention",
    "ours": "the exchange has it, the store does not",
    "unknown": "not loaded yet",
}
LATE_S = 1.5
NAMES_SHOWN = 5
_WIDE = 200
"""Columns of a table that is not written to a terminal: nothing is cut there."""


def console(*, stderr: bool = False) -> Console:
    """A console on stdout or stderr as it is now; NO_COLOR and COLUMNS are obeyed."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    terminal = stream.isatty()
    return Console(
        file=stream, highlight=False, markup=False, soft_wrap=not terminal, width=None if terminal else _width()
    )


_wrote = _debugging = False


def say(text: str) -> None:
    """A message on stderr: never part of what a program reads."""
    with contextlib.suppress(BrokenPipeError):
        print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def said_late(text: str, say: Callable[[str], object] = say) -> Iterator[None]:
    """Say `text`, which tells what is waited for, if the block takes longer than `LATE_S`. Needs an event loop."""
    from asyncio import get_running_loop  # it takes a third of the time of `--help`

    timer = get_running_loop().call_later(LATE_S, say, text)
    try:
        yield
    finally:
        timer.cancel()


def write(text: str) -> None:
    """A line on stdout."""
    global _wrote
    _wrote = True
    print(text, flush=True)


def wrote(*, nothing_yet: bool = False) -> bool:
    """Whether a line was written to stdout; nothing_yet: begin to look."""
    global _wrote
    if nothing_yet:
        _wrote = False
    return _wrote


def debugging(value: bool | None = None) -> bool:
    """Whether tracebacks are shown; `value` sets it."""
    global _debugging
    if value is not None:
        _debugging = value
    return _debugging


def columns() -> int:
    """How wide a table may be."""
    return console().width if sys.stdout.isatty() else _WIDE


def state(status: str, undriven: str | None) -> str:
    """A workflow's status, and whether a manager drives it."""
    return status if undriven is None else f"{status}, not driven"


def many(count: int, what: str) -> str:
    """A count with its noun: `1 topic`, `1,440 topics`."""
    return f"{number(count)} {what}{'' if count == 1 else 's'}"


def records(count: int) -> str:
    """A count of records."""
    return many(count, "record")


def styled(word: str, shown: str | None = None) -> Text:
    """A status or verdict in its colour. shown: what is written in its place."""
    from rich.text import Text

    return Text(word if shown is None else shown, style=STATUS_STYLES.get(word, ""))


def table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, right: Iterable[str] = ()) -> None:
    """A table on stdout. right: the columns of numbers."""
    from rich import box
    from rich.table import Table

    numbers = set(right)
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for column in columns:
        # What is copied into the next command stays on one line while there is room for it.
        whole = column == "queue_id"
        shown.add_column(column, justify="right" if column in numbers else "left", overflow="fold", no_wrap=whole)
    for row in rows:
        shown.add_row(*row)
    out = console()
    if not sys.stdout.isatty():
        out.width = _WIDE
    with out.capture() as capture:
        out.print(shown)
    # A table pads its lines: what is copied or compared should not hold that.
    lines = [line.rstrip() for line in capture.get().splitlines()]
    write("\n".join(lines))


def first_of(names: Sequence[str]) -> str:
    """The first of `names`, and whether there are more."""
    return ", ".join([*names[:NAMES_SHOWN], "…"] if len(names) > NAMES_SHOWN else names)


def moment(text: str | None) -> str:
    """An ISO instant as the tables show it: to the second, UTC."""
    return "" if text is None else text.replace("T", " ")[:19].removesuffix(" 00:00:00")


def span(start_ms: int, end_ms: int) -> str:
    """A half-open range as it is written in a request."""
    return f"{format_ms(start_ms)}:{format_ms(end_ms)}"


def day_span(start_ms: int, end_ms: int) -> str:
    """A half-open range as one reads it."""
    return f"{format_ms(start_ms)} to {format_ms(end_ms)}"


def asked_for(requested: str, *, clipped: bool) -> str:
    """What was asked for where the range is another, in parentheses and behind a space; else nothing."""
    if clipped:
        return f" (asked for {requested}, the end is brought back to what is over)"
    return f" (asked for {requested})" if is_relative(requested) else ""


def number(value: int | float | None) -> str:
    """With thousands separated; empty for None."""
    return "" if value is None else f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def per_second(rate: float) -> str:
    """`28/s`, `0.4/s`."""
    return f"{number(round(rate, 1) if rate < 1 else round(rate))}/s"


def duration(seconds: float | None) -> str:
    """`0.4 s`, `12 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def clock(unix_s: float) -> str:
    """An instant of an event: `2024-08-01 12:30:15.123`, UTC."""
    moment_ = datetime.fromtimestamp(unix_s, UTC)
    return moment_.strftime("%Y-%m-%d %H:%M:%S.") + f"{moment_.microsecond // 1000:03d}"


def _width() -> int | None:
    columns = os.environ.get("COLUMNS", "")
    return int(columns) if columns.isdecimal() and int(columns) > 0 else 100


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
