"""Shows how far a workflow is, on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from streamforge.cli import terminal
from streamforge.cli.coverage_text import analysis_of
from streamforge.cli.live_text import live_text
from streamforge.cli.terminal import short
from streamforge.cli.topic_text import messages
from streamforge.manager import answers

if TYPE_CHECKING:
    from rich.console import RenderableType

_FRACTION = re.compile(r"\.\d+Z$")
EVERY_S, LONGEST_S = 10.0, 300.0
"""Between two lines about the same status where there is no terminal: twice as long each time, up to the longest."""


@contextmanager
def display() -> Iterator[Display]:
    """A bar where stderr is a terminal, else lines."""
    if sys.stderr.isatty():
        with _Bar() as bar:
            yield bar
    else:
        yield Lines()


class Lines:
    """Shows how far a workflow is: a line when something has changed. now: a monotonic clock, in seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._state: tuple[object, ...] | None = None
        self._progress: tuple[object, ...] | None = None
        self._reasons: set[str] = set()
        self._at, self._pause_s = float("-inf"), EVERY_S

    def show(self, workflow: answers.Started) -> None:
        if workflow.ended or not self._is_news(workflow):
            return
        terminal.say(f"{workflow.queue_id}: {summary(workflow)}")

    def _is_news(self, workflow: answers.Started) -> bool:
        """A reason to wait is shown once, however often it comes and goes, until something is stored again."""
        live = None if workflow.live is None else workflow.live.state
        state = (workflow.status, workflow.progress.records_expected, live)
        # Records of an order book are stored, and proven, only when their segment is closed, after minutes.
        waiting = workflow.live and (workflow.live.proven_through, workflow.live.records_waiting)
        progress = (workflow.progress.records_stored, waiting)
        reason = workflow.waiting_for
        if self._goes_on(state != self._state, progress != self._progress):
            self._reasons.clear()
        elif reason is None or reason in self._reasons:
            return False
        self._state, self._progress = state, progress
        if reason is not None:
            self._reasons.add(reason)
        return True

    def _goes_on(self, is_new: bool, has_changed: bool) -> bool:
        """Whether a line is due: at once where the status is new, else where something has changed since a while."""
        now = self._now()
        if not is_new and not (has_changed and now - self._at >= self._pause_s):
            return False
        self._at, self._pause_s = now, EVERY_S if is_new else min(LONGEST_S, 2 * self._pause_s)
        return True

    def draw(self, status: str, share: float | None, text: str, waits: str) -> None:
        """Say one line where the status is another, now and then where something else is, and once for each reason to
        wait. share: not told."""
        state = (status, share, text, waits)
        if self._goes_on(self._state is None or self._state[0] != status, state != self._state):
            self._reasons.clear()
        elif not waits or waits in self._reasons:
            return
        self._state = state
        self._reasons.add(waits)
        terminal.say(": ".join((status, ", ".join(part for part in (text, waits) if part))))

    def note(self, text: str) -> None:
        terminal.say(text)


class _Bar:
    def __init__(self) -> None:
        from rich.live import Live

        self._console = terminal.console(stderr=True)
        self._live = Live(console=self._console, refresh_per_second=8, transient=True)
        self._restore: Callable[[], None] = lambda: None

    def __enter__(self) -> _Bar:
        self._restore = _without_echoed_signals()
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()
        self._restore()

    def show(self, workflow: answers.Started) -> None:
        progress = workflow.progress
        expected = progress.records_expected
        # Before the exchange was asked nothing is known of the end; then a bar without an end moves.
        share = None if expected is None else progress.records_stored / expected if expected else 1.0
        self.draw(workflow.status, share, numbers(workflow), waits_for(workflow))

    def draw(self, status: str, share: float | None, text: str, waits: str) -> None:
        """Show one line. share: 0 to 1; None: the end is not known. waits: a second line, or nothing."""
        self._live.update(self._drawn(status, share, text, waits))

    def note(self, text: str) -> None:
        self._console.print(text)

    def _drawn(self, status: str, share: float | None, text: str, waits: str) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        line = Table.grid(padding=(0, 1), expand=False)
        for _ in range(3):
            line.add_column(no_wrap=True)
        width = max(8, min(40, self._console.width - 58))
        total = None if share is None else 1.0
        bar = ProgressBar(total=total, completed=share or 0.0, pulse=share is None, width=width)
        line.add_row(terminal.styled(status), bar, Text(text))
        rows: list[RenderableType] = [line]
        if waits:
            rows.append(Text(f"  {waits}", style="dim", no_wrap=True, overflow="ellipsis"))
        return Group(*rows)


Display = Lines | _Bar


class WorkflowDisplay(Protocol):
    """Shows a workflow that is followed."""

    def show(self, workflow: answers.Started) -> None:
        """How far it is now."""

    def note(self, text: str) -> None:
        """A line that stays."""


def _without_echoed_signals() -> Callable[[], None]:
    """Keep the terminal from writing `^C` into the bar. Returns a function that undoes it."""
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


def summary(workflow: answers.Started) -> str:
    """Where it stands, on one line."""
    parts = [workflow.status, numbers(workflow)]
    if waits := waits_for(workflow):
        parts.append(waits)
    return ", ".join(part for part in parts if part)


def waits_for(workflow: answers.Started) -> str:
    """`waits for …`, with the time at which it goes on where that is known; nothing where it does not wait."""
    if workflow.undriven is not None:
        return f"not driven: {workflow.undriven}"
    if not workflow.waiting_for:
        return ""
    waiting = [
        (f"{step.target}: {one.waiting}", one.waiting_until) for step in workflow.steps if (one := step.progress)
    ]
    goes_on = dict(reversed(waiting)).get(workflow.waiting_for)
    until = f" (until {_FRACTION.sub('Z', goes_on)})" if goes_on else ""
    return f"waits for {short(workflow.waiting_for)}{until}"


def _made(progress: answers.Progress, unit: str) -> str:
    return f"{terminal.number(progress.records_stored)} of {terminal.many(progress.records_expected or 0, unit)}"


def numbers(workflow: answers.Started) -> str:
    """`620 of 1,440 (43 %), 1,203/s, 2 s left`."""
    progress = workflow.progress
    if workflow.live is not None and not workflow.ended:
        return live_text(workflow, workflow.live)
    if (analysis := analysis_of(workflow)) is not None:
        return "" if progress.records_expected is None else _made(progress, analysis[1])
    if progress.records_expected is None and workflow.topic_input is not None:
        rate = f", {terminal.number(round(progress.rate))}/s" if progress.rate and workflow.status == "running" else ""
        return f"{messages(progress.records_stored)} stored{rate}"
    if progress.records_expected is None:
        asking = workflow.status in ("pending", "running") and workflow.undriven is None
        return "asking the exchange what there is" if asking else ""
    share = progress.records_stored / progress.records_expected if progress.records_expected else 1.0
    # Rounded down: 100 % is when all is there.
    stored, expected = terminal.number(progress.records_stored), terminal.number(progress.records_expected)
    text = f"{stored} of {expected} ({int(share * 100)} %)"
    if progress.records_there:
        text += f", {terminal.number(progress.records_there)} of them stored before"
    if progress.rate and workflow.status == "running":
        text += f", {terminal.number(round(progress.rate))}/s"
    if progress.eta_seconds and workflow.status == "running":
        text += f", {terminal.duration(progress.eta_seconds)} left"
    loaded = bool(workflow.steps) and all(step.status == "finished" for step in workflow.steps)
    if (
        workflow.status == "running"
        and workflow.undriven is None
        and (loaded or progress.records_stored >= progress.records_expected)
    ):
        text += ", proving that it is complete"
    return text
