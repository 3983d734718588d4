"""What the manager notes of a plan or a workflow, for programs: codes, which stay, and the values of each text."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

import msgspec


class NoteCode(StrEnum):
    """A code is never given another meaning, nor taken away; a newer version may know more."""

    LIMITED_BY_REQUESTS = "limited-by-requests"
    LIMITED_BY_WEIGHT = "limited-by-weight"
    LIMITED_BY_DOWNLOAD = "limited-by-download"
    LIMITED_BY_STORE = "limited-by-store"
    SOME_SYMBOLS = "some-symbols"
    DISK_TOO_SMALL = "disk-too-small"
    LICENCE_TOO_SMALL = "licence-too-small"
    LICENCE_NEARLY_FULL = "licence-nearly-full"
    NOTHING_TO_LOAD = "nothing-to-load"
    ALL_STORED = "all-stored"
    UP_TO_DATE = "up-to-date"
    NOT_LISTED = "not-listed"
    NO_SOURCE = "no-source"
    REFUSED = "refused"
    REQUESTS_INSTEAD = "requests-instead"
    CHECKSUM_DISPUTED = "checksum-disputed"
    NO_EDGES = "no-edges"


_THEN = ", and `begin_s` to begin and to prove"
_IN = "of the range from `start_ms` to `end_ms`"
MEANINGS: dict[NoteCode, str] = {
    NoteCode.LIMITED_BY_REQUESTS: f"so many `requests` take longest, `rate` a second{_THEN}",
    NoteCode.LIMITED_BY_WEIGHT: f"their `weight` takes longest, `rate` a minute{_THEN}",
    NoteCode.LIMITED_BY_DOWNLOAD: f"a download of `download_bytes` takes longest, `rate_bytes` a second{_THEN}",
    NoteCode.LIMITED_BY_STORE: f"to store so many `records` takes longest, `rate` a second{_THEN}",
    NoteCode.SOME_SYMBOLS: "it is estimated from `looked_at` symbols of `size`",
    NoteCode.DISK_TOO_SMALL: "of `store_bytes` for records and `download_bytes` for files the disk has `free_bytes`",
    NoteCode.LICENCE_TOO_SMALL: "records take `store_bytes`; the store's licence leaves `left_bytes`",
    NoteCode.LICENCE_NEARLY_FULL: "records take `store_bytes`, most of the `left_bytes` that the licence leaves",
    NoteCode.NOTHING_TO_LOAD: "there is nothing to load",
    NoteCode.ALL_STORED: "there is nothing to load, as all of it is stored",
    NoteCode.UP_TO_DATE: "there is nothing new since `until_ms`",
    NoteCode.NOT_LISTED: "the exchange did not have the symbol on `day`",
    NoteCode.NO_SOURCE: "no source has `n` ranges of it",
    NoteCode.REFUSED: "it cannot be loaded; `detail` says why",
    NoteCode.REQUESTS_INSTEAD: f"{_IN}: requests take the place of files; `detail` says why",
    NoteCode.CHECKSUM_DISPUTED: f"{_IN}: a file does not meet its published checksum; `detail` has both",
    NoteCode.NO_EDGES: "no snapshot of `graph` has an edge",
}


class Note(msgspec.Struct, frozen=True):
    """A text for programs: its code, and the values in it, whose names tell their units: `…_ms`, `…_s`, `…_bytes`."""

    code: Annotated[str, msgspec.Meta(extra_json_schema={"enum": [str(code) for code in NoteCode]})]
    values: dict[str, int | str] = {}


class Noted(NamedTuple):
    """The same for people and for programs."""

    text: str
    note: Note


def noted(text: str, code: NoteCode, **values: int | str) -> Noted:
    """A text with its code and the values that are in it."""
    return Noted(text, Note(code, values))


def told_by(name: str, found: Sequence[Noted]) -> dict[str, Any]:
    """Texts and codes for the fields `NAMEs` and `NAME_codes` of an answer."""
    return {f"{name}s": [one.text for one in found], f"{name}_codes": [one.note for one in found]}
