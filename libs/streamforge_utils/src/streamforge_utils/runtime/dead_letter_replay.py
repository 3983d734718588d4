"""Which dead letters a sink reads again: all that are there, or chosen ones, which leave the others where they are."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated

import msgspec

from streamforge_utils.ports.bus import Received
from streamforge_utils.runtime.environment import variable


class LetterPlace(msgspec.Struct, frozen=True, order=True):
    """Where the record of a dead letter came from: it names the letter, also once that was moved in its topic."""

    topic: str
    partition: int
    offset: int

    setting_form = "TOPIC:PARTITION:OFFSET"

    @classmethod
    def parse_setting(cls, text: str) -> LetterPlace:
        """Read `TOPIC:PARTITION:OFFSET`. Raises ValueError."""
        parts = text.rsplit(":", 2)
        if len(parts) != 3 or not parts[0] or not all(part.isascii() and part.isdigit() for part in parts[1:]):
            raise ValueError(f"{text[:80]!r} has not the form {cls.setting_form}")
        return cls(parts[0], int(parts[1]), int(parts[2]))

    def __str__(self) -> str:
        return f"{self.topic}:{self.partition}:{self.offset}"


class ReplaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the input is a topic of dead letters, and true if it is. letters: those that are meant; none: all."""

    on: Annotated[
        bool,
        variable(
            "STREAMFORGE_REPLAY",
            "read `KAFKA_TOPIC`, a topic of dead letters, to where it ends at the start; no upstream is needed then",
            only="input",
        ),
    ] = False
    letters: Annotated[
        tuple[LetterPlace, ...],
        variable(
            "STREAMFORGE_REPLAY_LETTERS",
            "with `STREAMFORGE_REPLAY`: those that are stored, by where their records came from; the others go back",
            only="input",
            default="all",
        ),
    ] = ()

    def __bool__(self) -> bool:
        return self.on


def place_of(letter: Received) -> LetterPlace:
    """The place of a dead letter; its own where it does not tell."""
    headers = dict(letter.headers)
    topic = headers.get("topic", letter.topic.encode()).decode(errors="replace")
    return LetterPlace(
        topic, _number(headers, "partition", letter.partition), _number(headers, "offset", letter.offset)
    )


def divided(
    letters: Sequence[Received], chosen: Collection[LetterPlace]
) -> tuple[Sequence[Received], Sequence[Received]]:
    """The letters that are meant, and the others. chosen: none means all."""
    if not chosen:
        return letters, ()
    sides: tuple[list[Received], list[Received]] = ([], [])
    for letter in letters:
        sides[place_of(letter) not in chosen].append(letter)
    return sides


def _number(headers: dict[str, bytes], name: str, otherwise: int) -> int:
    text = headers.get(name, b"")
    return int(text) if text.isdigit() else otherwise
