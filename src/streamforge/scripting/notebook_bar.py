"""Shows how far a load is in a notebook: a bar as HTML, with its text for what shows no HTML."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

from streamforge.cli.progress import WorkflowDisplay, display, summary
from streamforge.manager import answers


@contextmanager
def shown(progress: bool) -> Iterator[WorkflowDisplay]:
    """A bar of the notebook or of the terminal, lines elsewhere; nothing unless `progress`."""
    if not progress:
        yield Silent()
    elif in_notebook():
        yield NotebookBar()
    else:
        with display() as found:
            yield found


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    shell: Any = sys.modules.get("IPython")
    found = None if shell is None else shell.get_ipython()
    return getattr(found, "kernel", None) is not None


class Silent:
    """Shows nothing."""

    def show(self, workflow: answers.Started) -> None:
        return

    def note(self, text: str) -> None:
        return


class NotebookBar:
    """A bar that moves in its place, below the notes."""

    def __init__(self) -> None:
        from IPython.display import display as put  # type: ignore[import-not-found, unused-ignore]

        self._put: Any = put
        self._bar: Any = None
        self._drawn: dict[str, str] = {}

    def show(self, workflow: answers.Started) -> None:
        drawn = picture(workflow)
        if drawn == self._drawn:
            return
        self._drawn = drawn
        if self._bar is None:
            self._bar = self._put(drawn, raw=True, display_id=True)
        else:
            self._bar.update(drawn, raw=True)

    def note(self, text: str) -> None:
        print(text)


def picture(workflow: answers.Started) -> dict[str, str]:
    """The bar by media type."""
    progress = workflow.progress
    text = f"{workflow.queue_id}: {summary(workflow)}"
    expected, stored = progress.records_expected, progress.records_stored
    done = "" if expected is None else f' value="{stored if expected else 1}" max="{max(expected, 1)}"'
    html = f'<progress style="width: 20em"{done}></progress> {escape(text)}'
    return {"text/plain": text, "text/html": html}
