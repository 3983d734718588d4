"""Before a technology is used: whether it can be, and making what manifests describe.

The latter first shows the differences; then, if wanted, it makes the changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that an examination looked at.

    verdict: `works`, `careful` or `fails`. next_step: what to do, unless it works. code: for programs; empty: it has
    none.
    """

    part: str
    verdict: str
    detail: str
    next_step: str = ""
    code: str = ""


class Action(StrEnum):
    """What would be done about one thing.

    foreign: it was made by another and is left alone. blocked: it is ours, but can never become as wanted.
    left: it is ours, but no manifest names it any more; it stays. forget: such a thing that is gone.
    """

    CREATE = "create"
    CHANGE = "change"
    REMOVE = "remove"
    ADOPT = "adopt"
    UNCHANGED = "unchanged"
    FOREIGN = "foreign"
    BLOCKED = "blocked"
    LEFT = "left"
    FORGET = "forget"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One thing and what would be done about it. details: lines for a person. as_wanted: once it is done, if at all."""

    kind: str
    name: str
    action: Action
    details: tuple[str, ...] = ()
    as_wanted: bool = True

    @property
    def does_something(self) -> bool:
        """Whether applying it changes anything."""
        return self.action in (Action.CREATE, Action.CHANGE, Action.REMOVE, Action.ADOPT, Action.FORGET)


class Provisioner(Protocol):
    """Compares manifests with what is there, and applies the differences. Every call blocks."""

    def plan(self) -> Sequence[Change]:
        """The differences, in the order in which they would be applied; changes nothing.

        Raises InvalidInput (a manifest is wrong), ConfigError or RetryableError.
        """

    def notes(self) -> Sequence[str]:
        """Of the last `plan`, sentences that a person should know."""

    def apply(self) -> Iterator[Change]:
        """Apply the last `plan`; yields each change once it is done. Raises as `plan`, and PermanentError."""

    def close(self) -> None:
        """Release the connections."""
