"""How far a workflow is, for a person: a bar that moves on a terminal, a line now and then elsewhere; on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from streamforge.cli import output, views

if TYPE_CHECKING:
    from rich.console import RenderableType

EVERY_S = 5.0
"""Between two lines about the same status where there is no terminal."""


class Display(Protocol):
    """Shows how far a workflow is."""

    def show(self, workflow: views.Workflow) -> None:
        """It is this far."""

    def note(self, text: str) -> None:
        """Something happened that is worth a line of its own."""


@contextmanager
def display(*, quiet: bool = False) -> Iterator[Display]:
    """What fits the stderr of this process."""
    if quiet:
        yield _Quiet()
    elif sys.stderr.isatty():
        with _Bar() as bar:
            yield bar
    else:
        yield _Lines()


class _Quiet:
    def show(self, workflow: views.Workflow) -> None:
        pass

    def note(self, text: str) -> None:
        output.say(text)


class _Lines:
    def __init__(self) -> None:
        self._said: tuple[object, ...] | None = None
        self._at = float("-inf")

    def show(self, workflow: views.Workflow) -> None:
        state = (workflow.status, workflow.waits_for, workflow.progress.records_expected)
        if workflow.ended or (state == self._said and time.monotonic() - self._at < EVERY_S):
            return
        self._said, self._at = state, time.monotonic()
        output.say(f"{workflow.queue_id}: {summary(workflow)}")

    def note(self, text: str) -> None:
        output.say(text)


class _Bar:
    def __init__(self) -> None:
        from rich.live import Live

        self._console = output.console(stderr=True)
        self._live = Live(console=self._console, refresh_per_second=8, transient=True)
        self._restore: Callable[[], None] = lambda: None

    def __enter__(self) -> _Bar:
        self._restore = _without_echoed_signals()
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()
        self._restore()

    def show(self, workflow: views.Workflow) -> None:
        self._live.update(self._drawn(workflow))

    def note(self, text: str) -> None:
        self._console.print(text)

    def _drawn(self, workflow: views.Workflow) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        progress = workflow.progress
        expected = progress.records_expected
        line = Table.grid(padding=(0, 1), expand=False)
        for _ in range(3):
            line.add_column(no_wrap=True)
        width = max(8, min(40, self._console.width - 58))
        # Before the exchange was asked nothing is known of the end; then a bar without an end moves.
        bar = ProgressBar(
            total=None if expected is None else max(expected, 1),
            completed=0 if expected is None else progress.records_stored if expected else 1,
            pulse=expected is None,
            width=width,
        )
        line.add_row(output.styled(workflow.status), bar, Text(numbers(workflow)))
        rows: list[RenderableType] = [line]
        waits = workflow.waits_for
        if waits:
            waiting = Text(f"  waits for {waits}", style="dim", no_wrap=True, overflow="ellipsis")
            rows.append(waiting)
        return Group(*rows)


def _without_echoed_signals() -> Callable[[], None]:
    """Keep the terminal from writing `^C` into the bar; what is returned undoes it."""
    import termios

    try:
        before = termios.tcgetattr(sys.stdin)
        changed = termios.tcgetattr(sys.stdin)
        changed[3] &= ~termios.ECHOCTL
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, changed)
    except (OSError, ValueError, termios.error):  # it is no terminal, or closed
        return lambda: None

    def restore() -> None:
        with suppress(OSError, ValueError, termios.error):
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)

    return restore


def summary(workflow: views.Workflow) -> str:
    """Where it stands, on one line."""
    parts = [workflow.status, numbers(workflow)]
    waits = workflow.waits_for
    if waits:
        parts.append(f"waits for {waits}")
    return ", ".join(part for part in parts if part)


def numbers(workflow: views.Workflow) -> str:
    """`620 of 1,440 (43 %), 1,203/s, 2 s left`."""
    progress = workflow.progress
    if progress.records_expected is None:
        return "asking the exchange what there is" if workflow.status in ("pending", "running") else ""
    share = f" ({progress.share * 100:.0f} %)" if progress.share is not None else ""
    text = f"{output.number(progress.records_stored)} of {output.number(progress.records_expected)}{share}"
    if progress.rate and workflow.status == "running":
        text += f", {output.number(round(progress.rate))}/s"
    if progress.eta_seconds and workflow.status == "running":
        text += f", {output.duration(progress.eta_seconds)} left"
    if workflow.status == "running" and progress.records_stored >= progress.records_expected:
        text += ", proving that it is complete"
    return text
