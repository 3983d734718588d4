"""The manager's actions. Each may be done twice without harm; the workflow's document shows when it is done."""

from __future__ import annotations

import msgspec

from streamforge_utils.model.messages import Event


class Prepare(msgspec.Struct, frozen=True):
    """Ask the exchange what there is to load."""


class Launch(msgspec.Struct, frozen=True):
    """Make the topics, then start the current attempt of `target`, or the shadow beside it."""

    target: str
    shadow: bool = False


class SendStop(msgspec.Struct, frozen=True):
    """Send the worker of `target` the command to stop in order."""

    target: str


class TakeOver(msgspec.Struct, frozen=True):
    """Tell the current attempt of `target`, which has listened beside the one before, that it may write."""

    target: str


class EndJob(msgspec.Struct, frozen=True):
    """End the job by SIGTERM, then SIGKILL."""

    job: str


class WriteTerminalEvent(msgspec.Struct, frozen=True):
    """Send the terminal event of an attempt whose process ended without one."""

    event: Event


class Prove(msgspec.Struct, frozen=True):
    """Compare what is stored with the grid; `ask`: ask the exchange again for each hole."""

    ask: bool


class Compare(msgspec.Struct, frozen=True):
    """Compare what a live workflow has newly stored with what its kind's rule expects; `ask`: the exchange may be."""

    ask: bool


Action = Prepare | Launch | SendStop | TakeOver | EndJob | WriteTerminalEvent | Prove | Compare
