"""The steps of a workflow as `show` tells them: a row for each attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamforge.cli import terminal
from streamforge.cli.reasons import short
from streamforge.manager import answers

if TYPE_CHECKING:
    from rich.text import Text

_ASKED = {"stop": "asked to stop", "stuck": "it was stuck"}


def messages_left(step: answers.Step) -> str:
    """What a sink that could not say so itself has left unstored; empty where that is nothing."""
    if not step.messages_left:
        unknown = step.messages_left_at_least
        return f"how many messages {step.target} has left unstored is not known" if unknown else ""
    least = "at least " if step.messages_left_at_least else ""
    return f"{step.target} has left {least}{terminal.number(step.messages_left)} messages unstored"


def step_rows(step: answers.Step, *, driven: bool = True) -> list[list[str | Text]]:
    """A row for each attempt with what that one did; where there are several, one with what they did together.

    driven: a manager makes the next attempt, and knows whether the latest one still runs.
    """
    rows = [
        _attempt_row(step, attempt, driven=driven)
        for attempt in step.attempts or [answers.Attempt(number=0, status=step.status)]
    ]
    latest = step.attempts[-1] if step.attempts else None
    if driven and step.status == "waiting" and latest and latest.ended_at and latest.status != "finished":
        rows[-1][-1] = f"{rows[-1][-1]}; it is tried again".removeprefix("; ")
    if len(step.attempts) > 1:
        known = driven or bool(latest and latest.ended_at)
        rows.append(["", _state(step.status, known=known), "all", terminal.number(step.records), "", "", ""])
    return rows


def _state(status: str, *, known: bool) -> Text:
    """known: whether a manager saw it, or sees it now."""
    return terminal.styled(status, None if known else f"{status}, not driven")


def _attempt_row(step: answers.Step, attempt: answers.Attempt, *, driven: bool) -> list[str | Text]:
    first = not step.attempts or attempt.number == step.attempts[0].number
    # What one that stopped in order said tells what it has left.
    said = attempt.message if attempt.last_word == "interrupted" else ""
    how = attempt.error or attempt.reason or said or _ASKED.get(attempt.stop_reason or "", "")
    if not how and attempt.ended_at:
        how = attempt.last_word or ""
    return [
        step.target if first else "",
        _state(attempt.status, known=driven or bool(attempt.ended_at) or not attempt.number),
        str(attempt.number or ""),
        terminal.number(attempt.progress.records if attempt.number else None),
        terminal.moment(attempt.started_at),
        terminal.moment(attempt.ended_at),
        short(how)[:200],
    ]
