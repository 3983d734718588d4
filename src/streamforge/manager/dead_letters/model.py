"""Why a record is a dead letter, in codes for programs."""

from __future__ import annotations

import re
from enum import StrEnum


class LetterCode(StrEnum):
    """A code is never given another meaning, nor taken away; a newer version may know more."""

    NOT_A_RECORD = "not-a-record"
    CONTRADICTORY = "contradictory"
    SCHEMA_UNMET = "schema-unmet"
    TOO_LARGE = "too-large"
    STORE_REFUSED = "store-refused"
    OTHER = "other"


MEANINGS: dict[LetterCode, str] = {
    LetterCode.NOT_A_RECORD: "it cannot be read as a record of the workflow's kind, or as an object that can be kept",
    LetterCode.CONTRADICTORY: "it is a record, but its fields contradict each other or the message's key",
    LetterCode.SCHEMA_UNMET: "it does not fit the JSON Schema that the workflow was started with",
    LetterCode.TOO_LARGE: "it is larger than a dead letter may be; only its beginning was kept",
    LetterCode.STORE_REFUSED: "the store refuses the document that was made of it",
    LetterCode.OTHER: "a worker gave a reason that has no code",
}

# By the words: letters that an older version wrote have a code, too.
_BEGINNINGS = (
    (LetterCode.TOO_LARGE, re.compile("too large for a dead letter")),
    (LetterCode.SCHEMA_UNMET, re.compile("it does not fit the JSON Schema")),
    (LetterCode.NOT_A_RECORD, re.compile("not a record of |it is |it has |its _key |its _version ")),
    (LetterCode.CONTRADICTORY, re.compile("[a-z_]+ record ")),
    (LetterCode.STORE_REFUSED, re.compile("the (document|key|body|version) ")),
)


def code_of(reason: str) -> LetterCode:
    """The code of a dead letter's reason."""
    return next((code for code, begins in _BEGINNINGS if begins.match(reason)), LetterCode.OTHER)
