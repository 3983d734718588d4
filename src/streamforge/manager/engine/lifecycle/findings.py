"""What actions find out: facts about a workflow, which the loop folds into its document."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from streamforge.manager.engine.document import Failure, Proof, Step
from streamforge.manager.engine.lifecycle.ban import Banned


class Planned(msgspec.Struct, frozen=True):
    """What has to be known first is known. found: what of it the form keeps.

    loader: of a source that is needed, where the workflow has none yet.
    """

    found: msgspec.Struct
    loader: Step | None = None


class Awaited(msgspec.Struct, frozen=True):
    """It cannot be prepared yet, as something else has to come first. at_ms: when that was found out."""

    reason: str
    at_ms: int


class Left(msgspec.Struct, frozen=True):
    """Messages that a sink has left unstored. at_least: there may be more, not all of them could be counted."""

    messages: int
    at_least: bool = False


class Proven(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored.

    asked: the exchange was asked for each hole. left: what sinks have left unstored, by target. loader: of files that
    may have the holes, where the workflow has none yet. more: what else the form has found.
    """

    proof: Proof
    asked: bool
    loader: Step | None = None
    left: Mapping[str, Left] = {}
    more: msgspec.Struct | None = None


class Compared(msgspec.Struct, frozen=True):
    """How far a continuous workflow has come. ban: the exchange named the end of one, which counts for all, in any
    epoch."""

    found: msgspec.Struct
    ban: Banned | None = None


class Unanswered(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange did not answer.

    number: of the questions in a row without an answer, this one too; a ban is none. at_ms: when that was found out.
    retry_after_ms: what it asked for. ban: it named the end of one, which counts for all, in any epoch.
    """

    reason: str
    number: int
    at_ms: int
    retry_after_ms: int = 0
    ban: Banned | None = None


class Refused(msgspec.Struct, frozen=True):
    """It will not work, however often it is tried."""

    failure: Failure


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """A try of an action failed, and not because bus, store or launcher were away.

    action: its name. number: of its tries in a row that did so, this one too; a try that finds something out ends the
    row. target, attempt: what was to be launched.
    """

    action: str
    number: int
    reason: str
    target: str = ""
    attempt: int = 0


class TopicsRemoved(msgspec.Struct, frozen=True):
    """The data topic, or (`dead_letters`) the topic of dead letters, is gone."""

    dead_letters: bool


Finding = Planned | Awaited | Proven | Compared | Unanswered | Refused | Failed | TopicsRemoved
"""What an action found out."""


class Fact(msgspec.Struct, frozen=True):
    """A finding, and the epoch of the workflow in which its action was begun."""

    epoch: int
    finding: Finding
