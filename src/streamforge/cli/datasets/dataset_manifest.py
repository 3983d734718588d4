"""What the manifests of a data set hold: what it is, and of each symbol every partition with its file and its proof.

`_manifest.json` at the top describes the data set; the one in a symbol's folder lists its partitions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec

from streamforge.cli.command_errors import CliError
from streamforge.manager.coverage import answers as data_answers
from streamforge_utils.model.coverage import COMPLETE
from streamforge_utils.model.timeranges import TimeRange, format_ms

NAME = "_manifest.json"
FORMAT = 1
"""Of the manifests; a newer one is refused."""


class Verdicts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A range with one verdict, as in the coverage of its series. collection, cause: where it has them."""

    start: str
    end: str
    start_ms: int
    end_ms: int
    verdict: str
    collection: str = ""
    cause: str = ""

    @property
    def span(self) -> TimeRange:
        return TimeRange(self.start_ms, self.end_ms)


class PartitionEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A partition as it was written.

    file: within the data set; None: it has no records. start_ms, end_ms: the half-open range that it speaks of.
    first, last: the positions of its first and its last record (their times, or ids). complete: no part of the range
    lacks records without a reason. coverage: the whole range by verdicts. version: of this coverage and of the way in
    which the file is written; another version is written anew.
    """

    partition: str
    file: str | None
    start: str
    end: str
    start_ms: int
    end_ms: int
    rows: int
    bytes: int = 0
    sha256: str = ""
    first: int | None = None
    last: int | None = None
    complete: bool
    version: str
    coverage: list[Verdicts]

    @property
    def span(self) -> TimeRange:
        return TimeRange(self.start_ms, self.end_ms)


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """What a data set holds. All of it is the same in all of its files.

    partition: `day` or `month`. time: how instants are written. made: how its records are made from those of `type`;
    empty: they are those. columns: by name, with their types.
    """

    format: int = FORMAT
    type: str
    partition: str
    time: str
    made: str = ""
    columns: dict[str, str]


class SymbolManifest(msgspec.Struct, frozen=True, kw_only=True):
    """The partitions of a symbol, in their order."""

    format: int = FORMAT
    symbol: str
    partitions: list[PartitionEntry]


T = TypeVar("T", Description, SymbolManifest)


def described(text: bytes, name: str) -> Description:
    """The description of a data set. Raises CliError for what is none."""
    return _read(text, name, Description)


def listed(text: bytes, name: str) -> SymbolManifest:
    """The partitions of a symbol. Raises CliError for what is no such list."""
    return _read(text, name, SymbolManifest)


def encoded(manifest: Description | SymbolManifest) -> bytes:
    """The text of a manifest."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def _read(text: bytes, name: str, kind: type[T]) -> T:
    try:
        found = msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CliError(f"{name} is no manifest of a data set ({error}): write to another folder") from error
    if found.format != FORMAT:
        raise CliError(f"{name} has format {found.format}, and this version knows {FORMAT}: take a newer StreamForge")
    return found


def verdicts_in(segments: Iterable[data_answers.Segment], span: TimeRange) -> list[Verdicts]:
    """What `segments` (sorted, disjoint) say of `span`, made one where they follow each other and are alike."""
    found: list[Verdicts] = []
    for one in segments:
        common = span.intersection(TimeRange(one.start_ms, one.end_ms))
        if common is None:
            continue
        cause = one.cause if isinstance(one.cause, str) else ""
        piece = _verdicts(common, one.verdict, one.collection or "", cause)
        last = found[-1] if found else None
        alike = last is not None and last.end_ms == piece.start_ms and _same(last) == _same(piece)
        if last is not None and alike:
            piece = _verdicts(TimeRange(last.start_ms, piece.end_ms), one.verdict, piece.collection, cause)
            found.pop()
        found.append(piece)
    return found


def _verdicts(span: TimeRange, verdict: str, collection: str, cause: str) -> Verdicts:
    return Verdicts(
        start=format_ms(span.start_ms),
        end=format_ms(span.end_ms),
        start_ms=span.start_ms,
        end_ms=span.end_ms,
        verdict=verdict,
        collection=collection,
        cause=cause,
    )


def _same(one: Verdicts) -> tuple[str, str, str]:
    return one.verdict, one.collection, one.cause


def is_complete(verdicts: Iterable[Verdicts]) -> bool:
    """Whether every hole has its reason."""
    return all(one.verdict in COMPLETE for one in verdicts)


def version_of(span: TimeRange, verdicts: Sequence[Verdicts], how: str) -> str:
    """A fingerprint: of what the coverage says of a partition, and of how its file is written."""
    told = msgspec.json.encode([span.start_ms, span.end_ms, how, verdicts])
    return hashlib.sha256(told).hexdigest()[:16]
