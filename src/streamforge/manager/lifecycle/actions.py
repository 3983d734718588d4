"""What the manager does in the world. Each action may be done twice without harm; the state says when it is done."""

from __future__ import annotations

import msgspec

from streamforge_utils.model.events import Event


class Prepare(msgspec.Struct, frozen=True):
    """Ask the exchange what there is to load."""


class Launch(msgspec.Struct, frozen=True):
    """Make the topics, then start the current attempt of `target`."""

    target: str


class SendStop(msgspec.Struct, frozen=True):
    """Tell the worker of `target` to stop in order."""

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


class RemoveTopics(msgspec.Struct, frozen=True):
    """Remove the data topic, or (`dead_letters`) the topic of dead letters, of an ended workflow; forget its jobs."""

    dead_letters: bool


Action = Prepare | Launch | SendStop | EndJob | WriteTerminalEvent | Prove | RemoveTopics
